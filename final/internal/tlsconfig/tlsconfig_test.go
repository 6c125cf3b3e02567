package tlsconfig_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/tlsconfig"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = a.sign(t, "authority", true)
	writePEM(t, a.file, "CERTIFICATE", a.cert.Raw, time.Now())
	return a
}

func (a *authority) sign(t *testing.T, name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

// issue writes a certificate and its key to dir, with changed as their time.
func (a *authority) issue(t *testing.T, dir, name string, changed time.Time) tlsconfig.Files {
	cert, key := a.sign(t, name, false)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	files := tlsconfig.Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	writePEM(t, files.Cert, "CERTIFICATE", cert.Raw, changed)
	writePEM(t, files.Key, "EC PRIVATE KEY", der, changed)
	return files
}

func writePEM(t *testing.T, file, kind string, der []byte, changed time.Time) {
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	require.NoError(t, os.Chtimes(file, changed, changed))
}

// serve starts an HTTPS server and returns its URL.
func serve(t *testing.T, files tlsconfig.Files) string {
	config, err := files.Server()
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = config
	listener := tls.NewListener(server.Listener, config) // StartTLS would add its own certificate
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return "https://" + listener.Addr().String()
}

// get returns the name in the server's certificate.
func get(t *testing.T, url string, files tlsconfig.Files) (string, error) {
	config, err := files.Client()
	require.NoError(t, err)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	return response.TLS.PeerCertificates[0].Subject.CommonName, nil
}

func TestTLS(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	files := ca.issue(t, dir, "first", time.Now().Add(-time.Minute))
	url := serve(t, files)

	t.Run("a client that trusts the CA connects, another does not", func(t *testing.T) {
		name, err := get(t, url, tlsconfig.Files{CA: ca.file})
		require.NoError(t, err)
		assert.Equal(t, "first", name)
		for _, files := range []tlsconfig.Files{{CA: otherCA.file}, {}} {
			_, err := get(t, url, files)
			assert.ErrorContains(t, err, "certificate signed by unknown authority")
		}
	})

	t.Run("a replaced certificate is used, a half-replaced one is not", func(t *testing.T) {
		require.NoError(t, os.WriteFile(files.Key, []byte("not yet"), 0o600))
		name, err := get(t, url, tlsconfig.Files{CA: ca.file})
		require.NoError(t, err)
		assert.Equal(t, "first", name)
		ca.issue(t, dir, "second", time.Now())
		name, err = get(t, url, tlsconfig.Files{CA: ca.file})
		require.NoError(t, err)
		assert.Equal(t, "second", name)
	})

	t.Run("mutual TLS accepts the clients of the CA alone", func(t *testing.T) {
		mutual := files
		mutual.CA = ca.file
		url := serve(t, mutual)
		client := ca.issue(t, t.TempDir(), "client", time.Now())
		client.CA = ca.file
		_, err := get(t, url, client)
		require.NoError(t, err)
		stranger := otherCA.issue(t, t.TempDir(), "stranger", time.Now())
		stranger.CA = ca.file
		for _, client := range []tlsconfig.Files{stranger, {CA: ca.file}} {
			_, err := get(t, url, client)
			assert.ErrorContains(t, err, "tls:")
		}
	})

	t.Run("without a certificate there is no TLS", func(t *testing.T) {
		config, err := tlsconfig.Files{}.Server()
		require.NoError(t, err)
		assert.Nil(t, config)
	})

	for what, files := range map[string]tlsconfig.Files{
		"a certificate without a key": {Cert: files.Cert}, "a key without a certificate": {Key: files.Key},
		"a missing file": {Cert: "missing", Key: "missing"}, "a CA that is none": {Cert: files.Cert, Key: files.Key, CA: files.Key},
		"a client CA without a certificate": {CA: ca.file},
	} {
		t.Run(what+" is an error", func(t *testing.T) {
			_, err := files.Server()
			assert.Error(t, err)
		})
	}
}

func TestAllowClients(t *testing.T) {
	config := &tls.Config{}
	log, logged := testkit.CaptureLog()
	tlsconfig.AllowClients(config, []string{"commands.example", "spiffe://example/commands", "192.0.2.1"}, log)
	id, err := url.Parse("spiffe://example/commands")
	require.NoError(t, err)
	for name, row := range map[string]struct {
		theirs  *x509.Certificate
		allowed bool
	}{
		"a DNS name":      {&x509.Certificate{DNSNames: []string{"other.example", "Commands.Example"}}, true},
		"a URI":           {&x509.Certificate{URIs: []*url.URL{id}}, true},
		"an address":      {&x509.Certificate{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}, true},
		"another name":    {&x509.Certificate{DNSNames: []string{"x.commands.example", "commands.example.org", "*.example"}}, false},
		"a subject alone": {&x509.Certificate{Subject: pkix.Name{CommonName: "commands.example"}}, false},
		"no name":         {&x509.Certificate{}, false},
	} {
		err := config.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{row.theirs, {DNSNames: []string{"commands.example"}}}})
		assert.Equal(t, row.allowed, err == nil, name)
	}
	assert.Error(t, config.VerifyConnection(tls.ConnectionState{}))
	assert.Len(t, logged.Lines("client refused"), 4)
}
