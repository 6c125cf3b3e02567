package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
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

// TestTLS runs the services with HTTPS and with mutual TLS between them.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{ // its own CA
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(certFile, certificate, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))

	s := local(t, "RABBITMQ_URL=amqp://127.0.0.1:1/", "COMMANDS_SERVICE_URL=", "SEED_DATA=true",
		"PLATFORMS_TLS_CERT_FILE="+certFile, "PLATFORMS_TLS_KEY_FILE="+keyFile,
		"COMMANDS_TLS_CERT_FILE="+certFile, "COMMANDS_TLS_KEY_FILE="+keyFile,
		"PLATFORMS_GRPC_TLS_CERT_FILE="+certFile, "PLATFORMS_GRPC_TLS_KEY_FILE="+keyFile, "PLATFORMS_GRPC_TLS_CLIENT_CA_FILE="+certFile,
		"COMMANDS_GRPC_TLS_CERT_FILE="+certFile, "COMMANDS_GRPC_TLS_KEY_FILE="+keyFile, "COMMANDS_GRPC_TLS_CA_FILE="+certFile)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(certificate))
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
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
}
