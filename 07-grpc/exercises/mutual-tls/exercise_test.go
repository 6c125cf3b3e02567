//go:build exercise

package platformservice

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"microcomm/07-grpc/commandsservice"
	"microcomm/07-grpc/proto"
)

// authority is a certificate authority of the test's own.
type authority struct {
	file string // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{file: writePEM(t, "CERTIFICATE", der), cert: cert, key: key}
}

// issue returns the files of a certificate for host and of its key.
func (a *authority) issue(t *testing.T, host string) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return writePEM(t, "CERTIFICATE", der), writePEM(t, "PRIVATE KEY", keyDER)
}

func writePEM(t *testing.T, kind string, der []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "x.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// settings returns the settings for a service at host.
func (a *authority) settings(t *testing.T, host string) map[string]string {
	t.Helper()
	cert, key := a.issue(t, host)
	return map[string]string{"GRPC_TLS_CA_FILE": a.file, "GRPC_TLS_CERT_FILE": cert, "GRPC_TLS_KEY_FILE": key,
		"PLATFORMS_HTTP_ADDR": "127.0.0.1:0", "COMMANDS_HTTP_ADDR": "127.0.0.1:0", "PLATFORMS_GRPC_ADDR": "127.0.0.1:0",
		"COMMANDS_SERVICE_URL": "", "RABBITMQ_URL": "amqp://127.0.0.1:1/"}
}

// lookup returns the function that reads the settings.
func lookup(settings map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := settings[name]; return value, ok }
}

// startPlatformService runs PlatformService with TLS, and returns its gRPC address.
func startPlatformService(t *testing.T, ca *authority) string {
	t.Helper()
	cfg, err := ConfigFromEnv(lookup(ca.settings(t, "127.0.0.1")))
	require.NoError(t, err)
	return startService(t, cfg).loggedAddr(t, "listening for gRPC")
}

// startCommandsService runs CommandsService with these settings until the test
// ends, and returns its log.
func startCommandsService(t *testing.T, settings map[string]string, target string) *logCapture {
	t.Helper()
	settings["PLATFORMS_GRPC_TARGET"] = target
	cfg, err := commandsservice.ConfigFromEnv(lookup(settings))
	require.NoError(t, err)
	log, logged := captureLog()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- commandsservice.Run(ctx, cfg, log) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, receive(t, "the end of CommandsService", ended))
	})
	return logged
}

// callWith calls the server at addr with these credentials.
func callWith(t *testing.T, addr string, config *tls.Config) error {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	require.NoError(t, err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = proto.NewGrpcPlatformClient(connection).GetAllPlatforms(ctx, &proto.GetAllRequest{})
	return err
}

func TestBackfillWithMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	addr := startPlatformService(t, ca)
	commands := startCommandsService(t, ca.settings(t, "commands"), addr)
	eventually(t, "a backfill", func() bool { return len(commands.lines("backfill done")) > 0 })
	_, err := getAllPlatforms(t, addr)
	require.Error(t, err, "PlatformService must not accept plain text beside TLS")
}

func TestOnlyKnownClientsAreServed(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	addr := startPlatformService(t, ca)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	load := func(a *authority) []tls.Certificate {
		certFile, keyFile := a.issue(t, "client")
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		require.NoError(t, err)
		return []tls.Certificate{cert}
	}
	require.NoError(t, callWith(t, addr, &tls.Config{RootCAs: pool, Certificates: load(ca)}), "a client with a certificate of the CA")
	require.Error(t, callWith(t, addr, &tls.Config{RootCAs: pool}), "a client without a certificate")
	stranger := load(other)[0]
	require.Error(t, callWith(t, addr, &tls.Config{RootCAs: pool, // sent although the server did not ask for such
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }}),
		"a client with a certificate of another CA")
}

// countingServer is a PlatformService that counts its calls.
type countingServer struct {
	proto.UnimplementedGrpcPlatformServer
	calls atomic.Int32
}

func (s *countingServer) GetAllPlatforms(context.Context, *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	s.calls.Add(1)
	return &proto.PlatformResponse{}, nil
}

func TestOnlyTheRightServerIsCalled(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	serve := func(a *authority, host string) (*countingServer, string) {
		certFile, keyFile := a.issue(t, host)
		creds, err := credentials.NewServerTLSFromFile(certFile, keyFile) // asks for no certificate
		require.NoError(t, err)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		api := &countingServer{}
		server := grpc.NewServer(grpc.Creds(creds))
		proto.RegisterGrpcPlatformServer(server, api)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() { server.Stop(); assert.NoError(t, receive(t, "the end of the server", served)) })
		return api, listener.Addr().String()
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		right, addr := serve(ca, host)
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		startCommandsService(t, ca.settings(t, "commands"), net.JoinHostPort(host, port))
		eventually(t, "a call to the right server, "+host, func() bool { return right.calls.Load() > 0 })
	}

	for what, server := range map[string]struct {
		ca   *authority
		host string
	}{"of another CA": {other, "127.0.0.1"}, "for another host": {ca, "platforms.example"}} {
		wrong, addr := serve(server.ca, server.host)
		commands := startCommandsService(t, ca.settings(t, "commands"), addr)
		eventually(t, "two attempts", func() bool {
			return wrong.calls.Load() > 0 || len(commands.lines("backfill failed")) >= 2
		})
		require.Zero(t, wrong.calls.Load(), "CommandsService called a server with a certificate "+what)
	}
}

// All three settings, and one of the files is not what it should be. Plain text,
// with a warning in a log, would be a protection that is not there.
func TestABrokenFileIsNoPlainText(t *testing.T) {
	ca := newAuthority(t)
	broken := filepath.Join(t.TempDir(), "broken.pem")
	require.NoError(t, os.WriteFile(broken, []byte("no certificate\n"), 0o600))
	for _, name := range []string{"GRPC_TLS_CA_FILE", "GRPC_TLS_CERT_FILE", "GRPC_TLS_KEY_FILE"} {
		settings := ca.settings(t, "127.0.0.1")
		settings[name] = broken
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		settings["PLATFORMS_GRPC_ADDR"] = listener.Addr().String()
		require.NoError(t, listener.Close())
		if cfg, err := ConfigFromEnv(lookup(settings)); err == nil {
			log, _ := captureLog()
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- Run(ctx, cfg, log) }()
			served := false
			eventually(t, "PlatformService ends, or serves in plain text", func() bool {
				_, err := getAllPlatforms(t, settings["PLATFORMS_GRPC_ADDR"])
				served = err == nil
				return served || len(ended) > 0
			})
			stop()
			<-ended
			require.False(t, served, "PlatformService serves in plain text, with a broken %s", name)
		}

		listener, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		plain := &countingServer{}
		server := grpc.NewServer()
		proto.RegisterGrpcPlatformServer(server, plain)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		settings["PLATFORMS_GRPC_TARGET"] = listener.Addr().String()
		if cfg, err := commandsservice.ConfigFromEnv(lookup(settings)); err == nil {
			log, logged := captureLog()
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- commandsservice.Run(ctx, cfg, log) }()
			eventually(t, "CommandsService ends, or its backfill fails", func() bool {
				return len(ended) > 0 || plain.calls.Load() > 0 || len(logged.lines("backfill failed")) > 0
			})
			stop()
			<-ended
		}
		server.Stop()
		if err := receive(t, "the end of the server", served); !errors.Is(err, grpc.ErrServerStopped) { // before it began to serve
			require.NoError(t, err)
		}
		require.Zero(t, plain.calls.Load(), "CommandsService calls in plain text, with a broken %s", name)
	}
}

func TestHalfOfTheSettingsIsAnError(t *testing.T) {
	all := newAuthority(t).settings(t, "127.0.0.1")
	for _, missing := range []string{"GRPC_TLS_CA_FILE", "GRPC_TLS_CERT_FILE", "GRPC_TLS_KEY_FILE"} {
		settings := lookup(all)
		some := func(name string) (string, bool) {
			if name == missing {
				return "", false
			}
			return settings(name)
		}
		_, err := ConfigFromEnv(some)
		require.ErrorContains(t, err, missing, "PlatformService would run without TLS, or without a check of its clients")
		_, err = commandsservice.ConfigFromEnv(some)
		require.ErrorContains(t, err, missing, "CommandsService")
	}
}
