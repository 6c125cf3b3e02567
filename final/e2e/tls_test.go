package e2e

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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// certificate is that of a service or a broker at 127.0.0.1, in PEM files.
type certificate struct {
	cert, key string
	ca        string // who signed it
	roots     *x509.CertPool
}

// issueCertificate returns a certificate of a new CA. Servers and clients
// can use it.
func issueCertificate(t *testing.T) certificate {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	c := certificate{cert: write("tls.crt", "CERTIFICATE", der), key: write("tls.key", "EC PRIVATE KEY", keyDER),
		ca: write("ca.crt", "CERTIFICATE", caDER), roots: x509.NewCertPool()}
	issuer, err := x509.ParseCertificate(caDER)
	require.NoError(t, err)
	c.roots.AddCert(issuer)
	return c
}

// TestTLS runs the services with HTTPS, also from one to the other, and with
// gRPC over mutual TLS.
func TestTLS(t *testing.T) {
	files := issueCertificate(t)
	certFile, keyFile, caFile := files.cert, files.key, files.ca
	s := local(t, "RABBITMQ_URL=amqp://127.0.0.1:1/", "SEED_DATA=true",
		"PLATFORMS_TLS_CERT_FILE="+certFile, "PLATFORMS_TLS_KEY_FILE="+keyFile,
		"COMMANDS_TLS_CERT_FILE="+certFile, "COMMANDS_TLS_KEY_FILE="+keyFile,
		"PLATFORMS_GRPC_TLS_CERT_FILE="+certFile, "PLATFORMS_GRPC_TLS_KEY_FILE="+keyFile, "PLATFORMS_GRPC_TLS_CLIENT_CA_FILE="+caFile,
		"COMMANDS_GRPC_TLS_CERT_FILE="+certFile, "COMMANDS_GRPC_TLS_KEY_FILE="+keyFile, "COMMANDS_GRPC_TLS_CA_FILE="+caFile)
	s.platforms.env = append(s.platforms.env, "COMMANDS_SERVICE_TLS_CA_FILE="+caFile, "COMMANDS_SERVICE_TIMEOUT=1m",
		"COMMANDS_SERVICE_URL="+strings.Replace(s.commands.url, "http:", "https:", 1)+"/api/c/platforms")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: files.roots}}}
	t.Cleanup(client.CloseIdleConnections)
	for _, service := range []*service{s.platforms, s.commands} {
		service.launch(t)
		eventually(t, service.name+" is ready over HTTPS", func() bool { // CommandsService after its backfill over mutual TLS
			service.requireRunning(t)
			response, err := client.Get(strings.Replace(service.url, "http:", "https:", 1) + "/readyz")
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
	}
	eventually(t, "the backfill over mutual TLS", func() bool {
		response, err := client.Get(strings.Replace(s.commands.url, "http:", "https:", 1) + "/api/c/platforms/1/commands")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	response, err := client.Post(strings.Replace(s.platforms.url, "http:", "https:", 1)+"/api/platforms", "application/json",
		strings.NewReader(`{"name": "Docker", "publisher": "e2e", "cost": "Free"}`))
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusCreated, response.StatusCode)
	response, err = client.Get(strings.Replace(s.commands.url, "http:", "https:", 1) + "/api/c/platforms/4/commands")
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode, "CommandsService was notified over HTTPS, before the response")
}
