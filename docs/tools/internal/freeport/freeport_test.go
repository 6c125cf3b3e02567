package freeport

import (
	"net"
	"testing"
)

func TestATakenPortIsFreeToListenOnAndGivenToNoOther(t *testing.T) {
	p, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Free()
	listener, err := net.Listen("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // its program is down for a while
	if other, err := net.ListenPacket("udp", p.Address()); err == nil {
		other.Close()
		t.Error("nothing marks the port as taken")
	}
}
