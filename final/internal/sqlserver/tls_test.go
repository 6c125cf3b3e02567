package sqlserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/microsoft/go-mssqldb/msdsn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTLSCertificate returns a certificate for the name db.example, and the PEM
// file of the CA that has signed it.
func newTLSCertificate(t *testing.T) (pair tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{ // its own CA
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"db.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

// startEncryptedTDS starts a server that requires encryption. It returns its URL
// and how many logins it got.
func startEncryptedTDS(t *testing.T, pair tls.Certificate) (url string, logins *atomic.Int32) {
	t.Helper()
	logins = &atomic.Int32{}
	server := startTDS(t, func(r tdsRequest) []byte {
		if r.kind != tdsPrelogin {
			return r.hangUp(nil) // not encrypted
		}
		if _, err := r.conn.Write(tdsPreloginResponse(1)); err != nil {
			return r.hangUp(nil)
		}
		wrapped := &tdsHandshake{Conn: r.conn}
		conn := tls.Server(wrapped, &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12})
		if conn.Handshake() != nil {
			return r.hangUp(nil)
		}
		wrapped.done = true
		for {
			request, err := readTDS(conn)
			if err != nil {
				return r.hangUp(nil)
			}
			if request.kind == tdsLogin {
				logins.Add(1)
			}
			if _, err := conn.Write(respondTDS(request)); err != nil {
				return r.hangUp(nil)
			}
		}
	})
	return server.url, logins
}

// tdsHandshake is a connection for a TLS handshake, whose records are in TDS
// packets until it is done.
type tdsHandshake struct {
	net.Conn
	done bool
	rest []byte // of the packet that is being read
}

func (h *tdsHandshake) Read(b []byte) (int, error) {
	if h.done {
		return h.Conn.Read(b)
	}
	if len(h.rest) == 0 {
		header := make([]byte, 8)
		if _, err := io.ReadFull(h.Conn, header); err != nil {
			return 0, err
		}
		h.rest = make([]byte, int(header[2])<<8+int(header[3])-8)
		if _, err := io.ReadFull(h.Conn, h.rest); err != nil {
			return 0, err
		}
	}
	n := copy(b, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

func (h *tdsHandshake) Write(b []byte) (int, error) {
	if h.done {
		return h.Conn.Write(b)
	}
	length := len(b) + 8
	if _, err := h.Conn.Write(append([]byte{tdsPrelogin, 1, byte(length >> 8), byte(length), 0, 0, 0, 0}, b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func TestEncryption(t *testing.T) {
	pair, caFile := newTLSCertificate(t)
	_, otherCA := newTLSCertificate(t)
	url, logins := startEncryptedTDS(t, pair)
	plain := startTDS(t, respondTDS) // says that it cannot encrypt
	const name, stranger = "&hostNameInCertificate=db.example", "certificate signed by unknown authority"

	for _, row := range []struct{ what, options, refused string }{
		{"encrypt=true and the CA", "&encrypt=true&certificate=" + caFile + name, ""},
		{"encrypt=true and another CA", "&encrypt=true&certificate=" + otherCA + name, stranger},
		{"encrypt=true and a CA, of a server with another name", "&encrypt=true&certificate=" + caFile, "not localhost"},
		{"encrypt=true and the CAs of the system", "&encrypt=true" + name, stranger},
		{"TrustServerCertificate=true, which accepts any", "&encrypt=true&TrustServerCertificate=true", ""},
		{"nothing about it, which accepts any too", "", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			before := logins.Load()
			err := openTDS(t, url+row.options).PingContext(t.Context())
			if row.refused == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.refused)
			assert.Equal(t, before, logins.Load(), "the password was not sent")
		})
	}

	t.Run("encrypt=true never falls back to plain text", func(t *testing.T) {
		require.ErrorContains(t, openTDS(t, plain.url+"&encrypt=true&certificate="+caFile).PingContext(t.Context()), "encryption")
		assert.Zero(t, plain.logins.Load())
	})

	for form, url := range map[string]string{
		"a URL":             "sqlserver://SA:x@db.example:1433?database=d&encrypt=true&certificate=" + caFile,
		"a URL, strict":     "sqlserver://SA:x@db.example:1433?database=d&encrypt=strict&certificate=" + caFile,
		"the ADO.NET form":  "Server=db.example,1433;Database=d;User Id=SA;Password=x;Encrypt=True;TrustServerCertificate=False;Certificate=" + caFile,
		"ADO.NET's strict":  "Server=db.example,1433;Database=d;User Id=SA;Password=x;Encrypt=Strict;Certificate=" + caFile,
		"ADO.NET, required": "Server=db.example,1433;Database=d;User Id=SA;Password=x;Encrypt=Mandatory;Certificate=" + caFile,
	} {
		t.Run("passes to every connection as written: "+form, func(t *testing.T) {
			config := newConnector(openTDS(t, url).config).config
			assert.Contains(t, []msdsn.Encryption{msdsn.EncryptionRequired, msdsn.EncryptionStrict}, config.Encryption)
			assert.Equal(t, strings.Contains(strings.ToLower(url), "strict"), config.Encryption == msdsn.EncryptionStrict)
			assert.False(t, config.TLSConfig.InsecureSkipVerify)
			assert.Equal(t, "db.example", config.TLSConfig.ServerName)
			assert.NotNil(t, config.TLSConfig.RootCAs, "not those of the system")
		})
	}

	for what, options := range map[string]string{
		"cannot be read":                 "encrypt=true&certificate=/missing/ca.pem",
		"is not used without encrypt":    "certificate=" + caFile,
		"is not used, since any will do": "encrypt=true&TrustServerCertificate=true&certificate=" + caFile,
		"is not used, since all is open": "encrypt=disable&certificate=" + caFile,
	} {
		t.Run("a CA that "+what+" is an error", func(t *testing.T) {
			for _, url := range []string{
				"sqlserver://SA:s3cret@db.example:1433?database=d&" + options,
				"Server=db.example,1433;Database=d;User Id=SA;Password=s3cret;" + strings.ReplaceAll(options, "&", ";"),
			} {
				assert.True(t, IsURL(url))
				_, err := Open(url)
				require.ErrorContains(t, err, "certificate")
				assert.NotContains(t, err.Error(), "s3cret")
			}
		})
	}
}
