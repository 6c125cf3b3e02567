package main

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
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/docs/tools/internal/issuer"
)

// rotation replaces every secret of a system with two replicas of each service, under
// load, and makes sure that the old ones are good for nothing afterwards.
func rotation(r *run) {
	i := get(issuer.Start("127.0.0.1:0"))
	defer i.Close()
	r.access, r.options.bearer = i.Settings(), newBearer(get(i.Token("drill", issuer.Scopes()...)))
	r.client = newClient(r.options.bearer)
	r.services(2, 2)
	user, certificates, login := newBrokerUser(r), newCertificates(r), newSQLLogin(r)
	load := usual()
	load.keys, load.balanced = true, true
	r.begin(load)
	r.lasts(3 * time.Second)

	r.phase("RabbitMQ's password")
	user.rotate()
	r.phase("certificates and their CA")
	certificates.rotate()
	if login != nil {
		r.phase("SQL Server's login")
		login.rotate()
	}
	r.phase("signing key")
	r.rotateSigningKey(i)
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
	r.expect("0 refused", r.verdict.refused == 0, "%d", r.verdict.refused)
	r.expect("0 unknown with retries", r.verdict.unknown == 0, "%d", r.verdict.unknown)
	r.expectComplete()
}

// rolling restarts each replica, one after the other, with its present settings.
func (r *run) rolling() {
	for _, s := range r.all() {
		must(s.terminate())
		r.restart(s)
		r.lasts(time.Second)
	}
}

// configure gives services a setting, instead of the value that they have.
func configure(services []*service, name, value string) {
	for _, s := range services {
		s.env = append(s.env, name+"="+value) // of two the last counts
	}
}

// brokerUser is the user of the services at the broker. The drill itself has another.
type brokerUser struct {
	run *run
	url string // of the broker, with the user and the password
}

// newBrokerUser makes one, and has the services use it.
func newBrokerUser(r *run) *brokerUser {
	u := &brokerUser{run: r}
	password := newPassword()
	must(r.broker.Control(r.ctx, "add_user", "microcomm", password))
	must(r.broker.Control(r.ctx, "set_permissions", "microcomm", ".*", ".*", ".*"))
	u.use(password)
	return u
}

func (u *brokerUser) use(password string) {
	with := get(url.Parse(u.run.brokerURL))
	with.User = url.UserPassword("microcomm", password)
	u.url = with.String()
	configure(u.run.all(), "RABBITMQ_URL", u.url)
}

// rotate changes the password at the broker first: connections that are open stay open.
func (u *brokerUser) rotate() {
	r, old, password := u.run, u.url, newPassword()
	must(r.broker.Control(r.ctx, "change_password", "microcomm", password))
	r.lasts(3 * time.Second)
	u.use(password)
	r.rolling()
	connection, err := amqp.DialConfig(old, amqp.Config{Dial: amqp.DefaultDial(startTimeout)})
	if err == nil {
		connection.Close()
	}
	r.expect("the broker to refuse the old password", errors.Is(err, amqp.ErrCredentials), "%v", err)
}

// sqlLogin is PlatformService's login at SQL Server.
type sqlLogin struct {
	run      *run
	database *sqlServerDatabase
	name     string
	url      string
}

// newSQLLogin makes one, and has PlatformService use it. Without a SQL Server there is
// none: nil.
func newSQLLogin(r *run) *sqlLogin {
	if os.Getenv("SQLSERVER_URL") == "" {
		r.tell("SQL Server's login", "not replaced: SQLSERVER_URL is not set")
		return nil
	}
	l := &sqlLogin{run: r, database: r.addSQLServer("DATABASE_URL")}
	l.use()
	return l
}

// use creates another login with the rights of login.sql, and has PlatformService use it.
func (l *sqlLogin) use() {
	password := newPassword()
	l.name = "drill-" + rand.Text()
	must(l.database.createLogin(l.run.ctx, l.name, password))
	with := get(url.Parse(l.database.url("")))
	with.User = url.UserPassword(l.name, password)
	l.url = with.String()
	configure(l.run.platforms, "DATABASE_URL", l.url)
}

// rotate lets the old login work until every replica has the new one.
func (l *sqlLogin) rotate() {
	old := l.name
	l.use()
	l.run.rolling()
	err := l.database.dropLogin(l.run.ctx, old)
	l.run.expect("nothing to use the old login", err == nil, "%v", err)
}

// certificates are those of mutual TLS between CommandsService and PlatformService.
type certificates struct {
	run *run
	ca  *authority
}

// The files of certificates, in the drill's folder.
const (
	caFile       = "ca.pem"
	platformsPEM = "platforms" // .crt and .key
	commandsPEM  = "commands"
)

// newCertificates gives the replicas their first ones, of a first CA.
func newCertificates(r *run) *certificates {
	c := &certificates{r, get(newAuthority("the first CA"))}
	file := func(name string) string { return filepath.Join(r.dir, name) }
	must(replaceFile(file(caFile), c.ca.pem()))
	c.issue()
	configure(r.platforms, "PLATFORMS_GRPC_TLS_CERT_FILE", file(platformsPEM+".crt"))
	configure(r.platforms, "PLATFORMS_GRPC_TLS_KEY_FILE", file(platformsPEM+".key"))
	configure(r.platforms, "PLATFORMS_GRPC_TLS_CLIENT_CA_FILE", file(caFile))
	configure(r.platforms, "PLATFORMS_GRPC_TLS_CLIENT_NAMES", commandsPEM)
	configure(r.commands, "COMMANDS_GRPC_TLS_CERT_FILE", file(commandsPEM+".crt"))
	configure(r.commands, "COMMANDS_GRPC_TLS_KEY_FILE", file(commandsPEM+".key"))
	configure(r.commands, "COMMANDS_GRPC_TLS_CA_FILE", file(caFile))
	return c
}

// issue replaces both certificates by new ones.
func (c *certificates) issue() {
	for _, name := range []string{platformsPEM, commandsPEM} {
		certificate, key, err := c.ca.issue(name)
		must(err)
		must(replaceFile(filepath.Join(c.run.dir, name+".key"), key))
		must(replaceFile(filepath.Join(c.run.dir, name+".crt"), certificate))
	}
}

// rotate trusts both CAs, then replaces the certificates, then trusts the new CA alone.
// Only what is trusted needs a restart.
func (c *certificates) rotate() {
	r, old := c.run, c.ca
	c.ca = get(newAuthority("the second CA"))
	must(replaceFile(filepath.Join(r.dir, caFile), append(old.pem(), c.ca.pem()...)))
	r.rolling()
	r.expectBackfill("CommandsService to get a backfill with the old certificates, while both CAs are trusted")
	c.issue()
	r.expectBackfill("CommandsService to get a backfill with the new certificates, without a restart of PlatformService")
	must(replaceFile(filepath.Join(r.dir, caFile), c.ca.pem()))
	r.rolling()
	r.expectBackfill("CommandsService to get a backfill when only the new CA is trusted")
	for _, s := range r.platforms {
		err := c.call(s, c.ca)
		r.expect("the new certificate to be accepted by "+s.name, err == nil, "%v", err)
		err = c.call(s, old)
		r.expect("one of the old CA to be refused by "+s.name, err != nil, "%v", err)
	}
}

// expectBackfill restarts a CommandsService, which then wants a backfill.
func (r *run) expectBackfill(expected string) {
	s := r.commands[0]
	must(s.terminate())
	r.restart(s)
	r.expectRecovery(expected+", within %s", func(ctx context.Context) error {
		found, err := r.client.scrape(ctx, s)
		if err == nil && found["backfill_platforms_total"] == 0 {
			err = errors.New("no platform by backfill yet")
		}
		return err
	})
}

// call connects to a PlatformService's gRPC as a client with a certificate of ca, which
// trusts the present CA.
func (c *certificates) call(s *service, ca *authority) error {
	certificate, key, err := ca.issue(commandsPEM)
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.ca.pem())
	ctx, cancel := context.WithTimeout(c.run.ctx, startTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{get(tls.X509KeyPair(certificate, key))}}}
	conn, err := dialer.DialContext(ctx, "tcp", s.grpc)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	must(conn.SetDeadline(deadline))
	_, err = conn.Read(make([]byte, 1)) // the server's settings; or the alert: in TLS 1.3 a client's handshake ends before
	return err
}

// rotateSigningKey has the issuer sign with a new key, and then withdraw the old one.
// Clients get their next token only once the services know its key.
func (r *run) rotateSigningKey(i *issuer.Issuer) {
	old := *r.options.bearer.token.Load()
	for range 2 { // the issuer publishes the last two keys
		must(i.Rotate())
		next := get(i.Token("drill", issuer.Scopes()...))
		r.expectStatus("the services to accept a token of the new key", next, http.StatusOK)
		r.options.bearer.token.Store(&next)
		r.lasts(3 * time.Second)
	}
	r.expectStatus("the services to refuse a token of the key that was withdrawn", old, http.StatusUnauthorized)
}

// expectStatus expects that status of each service, for a request with that token, soon.
func (r *run) expectStatus(expected, token string, status int) {
	client := newClient(newBearer(token))
	// A service asks for unknown keys once in ten seconds at most.
	r.expectWithin(startTimeout, expected, func(ctx context.Context) error {
		for _, s := range r.all() {
			path := platformsPath
			if s.program == "commandsservice" {
				path = commandsPath
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url+path, nil)
			if err != nil {
				return err
			}
			response, err := client.http.Do(request)
			if err != nil {
				return err
			}
			response.Body.Close()
			if response.StatusCode != status {
				return fmt.Errorf("%s: %s", s.name, response.Status)
			}
		}
		return nil
	})
}

// newPassword keeps the rules of SQL Server, too.
func newPassword() string { return "Mc-1" + rand.Text() }

// replaceFile has no moment in which the file is half written.
func replaceFile(name string, content []byte) error {
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	a := &authority{key: key, certificate: template(name)}
	a.certificate.IsCA, a.certificate.BasicConstraintsValid, a.certificate.KeyUsage = true, true, x509.KeyUsageCertSign
	signed, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	a.certificate, err = x509.ParseCertificate(signed)
	return a, err
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// issue returns a certificate for name, and for this machine, and its key, as PEM.
func (a *authority) issue(name string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	leaf := template(name)
	leaf.DNSNames, leaf.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key of %s: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
