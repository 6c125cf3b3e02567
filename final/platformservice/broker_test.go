package platformservice

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/tlsconfig"
)

// TestDial: what the error says is what happened.
func TestDial(t *testing.T) {
	t.Run("a broker that says nothing has timed out", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer silent.Close()
		_, err = bus.Dial(t.Context(), "amqp://"+silent.Addr().String()+"/", tlsconfig.Files{}, bus.BrokerTimeout)
		require.ErrorContains(t, err, "timed out")
		assert.NotContains(t, err.Error(), "password")
	})

	t.Run("a broker that stalls in the handshake has timed out", func(t *testing.T) {
		_, err := bus.Dial(t.Context(), stallingBroker(t, testkit.NewBroker(t).URL), tlsconfig.Files{}, bus.BrokerTimeout)
		require.ErrorContains(t, err, "timed out")
		assert.NotContains(t, err.Error(), "password")
	})

	t.Run("a wrong password is named", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		u, err := url.Parse(broker.URL)
		require.NoError(t, err)
		u.User = url.UserPassword("unknown", "s3cret")
		// The broker takes 3 of the 5 seconds that the handshake may, and longer when it is busy.
		testkit.Eventually(t, "the broker's refusal", func() bool {
			_, err = bus.Dial(t.Context(), u.String(), tlsconfig.Files{}, bus.BrokerTimeout)
			return err == nil || !strings.Contains(err.Error(), "timed out")
		})
		require.ErrorContains(t, err, "403")
		assert.NotContains(t, err.Error(), "s3cret")
	})
}

// stallingBroker returns the URL of a broker that sends its first frame as the
// one at brokerURL does, reads the credentials, and then says nothing more.
func stallingBroker(t *testing.T, brokerURL string) string {
	t.Helper()
	u, err := url.Parse(brokerURL)
	require.NoError(t, err)
	broker, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { broker.Close() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = io.CopyN(broker, client, int64(len("AMQP0091")))
		header := make([]byte, 7) // type, channel (2), size (4)
		_, _ = io.ReadFull(broker, header)
		_, _ = client.Write(header)
		_, _ = io.CopyN(client, broker, int64(binary.BigEndian.Uint32(header[3:]))+1)
		_, _ = io.Copy(io.Discard, client)
	}()
	t.Cleanup(func() {
		listener.Close()
		testkit.Receive(t, "the end of the stalling broker", served)
	})
	u.Host = listener.Addr().String()
	return u.String()
}
