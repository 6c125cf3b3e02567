package badnet

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo sends back what it receives, until the other side ends.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func proxied(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	p, err := New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, dial(t, p)
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// say sends a line and returns the one that comes back.
func say(conn net.Conn, line string) (string, error) {
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestProxyForwards(t *testing.T) {
	_, conn := proxied(t)
	if got, err := say(conn, "hello"); err != nil || got != "hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestProxyForwardsTheEndOfAStream(t *testing.T) {
	_, conn := proxied(t)
	if _, err := io.WriteString(conn, "last words"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestProxyDelaysBothWays(t *testing.T) {
	p, conn := proxied(t)
	p.Set(State{Delay: 50 * time.Millisecond})
	start := time.Now()
	if _, err := say(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("there and back in %s, with 50ms each way", took)
	}
}

func TestProxyDelaysWhatComesBackAlone(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	p, err := New(target.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Set(State{DelayBack: time.Hour})
	client := dial(t, p)
	if _, err := io.WriteString(client, "there\n"); err != nil {
		t.Fatal(err)
	}
	server, err := target.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if got, err := bufio.NewReader(server).ReadString('\n'); err != nil || got != "there\n" {
		t.Errorf("the target received %q, %v", got, err)
	}
	if err := client.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(server, "back\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(client).ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v an hour early", got, err)
	}
}

func TestAStalledProxyHoldsEverythingUntilItIsHealed(t *testing.T) {
	p, conn := proxied(t)
	p.Set(State{Stalled: true})
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got, err := say(conn, "hello"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %q, %v through a stalled network", got, err)
	}
	p.Set(State{})
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); err != nil || got != "hello\n" {
		t.Errorf("got %q, %v after healing", got, err)
	}
}

func TestACutProxyEndsOldAndNewConnections(t *testing.T) {
	p, conn := proxied(t)
	if _, err := say(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	p.Set(State{Cut: true})
	for name, conn := range map[string]net.Conn{"old": conn, "new": dial(t, p)} {
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the %s connection is not Cut: %v", name, err)
		}
	}
	p.Set(State{})
	if got, err := say(dial(t, p), "hello"); err != nil || got != "hello\n" {
		t.Errorf("got %q, %v after healing", got, err)
	}
}
