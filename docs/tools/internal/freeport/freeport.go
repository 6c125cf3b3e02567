// Package freeport finds ports for programs that are started later, and again.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Port is a TCP port of the loopback address that nothing listens on yet.
type Port struct {
	Number int
	mark   net.PacketConn
}

// Take takes a port below those that systems give to clients: one of those would now and
// then be in use by a connection made while its program is down. Until Free, no other
// caller of Take gets it, in whichever process: the UDP port of that number marks it.
func Take() (*Port, error) {
	for range 1000 {
		p := &Port{Number: 10_000 + rand.N(20_000)}
		var err error
		if p.mark, err = net.ListenPacket("udp", p.Address()); err != nil {
			continue // another caller has it
		}
		listener, err := net.Listen("tcp", p.Address())
		if err != nil {
			p.Free() // it is in use
			continue
		}
		listener.Close()
		return p, nil
	}
	return nil, errors.New("no free port between 10000 and 30000")
}

// Address is host:port.
func (p *Port) Address() string { return fmt.Sprintf("127.0.0.1:%d", p.Number) }

// Free lets others take the port.
func (p *Port) Free() { p.mark.Close() }
