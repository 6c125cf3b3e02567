// Package tlsconfig makes TLS configurations from PEM files. Certificates that
// are replaced on disk are used from the next handshake on, without a restart.
package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files names PEM files. All may be empty.
type Files struct {
	Cert, Key string // one's own certificate, with its chain, and its private key
	CA        string // who signs the certificates of the other side
}

// Server returns the configuration of a server, or nil, for plain text, without
// a certificate. With a CA it accepts only clients whose certificate that CA
// has signed (mutual TLS).
func (f Files) Server() (*tls.Config, error) {
	if f.Cert == "" && f.Key == "" {
		if f.CA != "" {
			return nil, errors.New("a CA for clients needs a certificate and a key of the server")
		}
		return nil, nil
	}
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	if config.RootCAs != nil {
		config.ClientCAs, config.RootCAs = config.RootCAs, nil
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// AllowClients makes config, that of a server with a CA for clients, accept only
// clients whose certificate has one of names among its alternative names. It logs
// which client it has refused.
func AllowClients(config *tls.Config, names []string, log *slog.Logger) {
	config.VerifyConnection = func(state tls.ConnectionState) error { // of a resumed session, too
		var theirs []string
		for _, certificate := range state.PeerCertificates[:min(1, len(state.PeerCertificates))] {
			theirs = append(theirs, certificate.DNSNames...)
			theirs = append(theirs, certificate.EmailAddresses...)
			for _, ip := range certificate.IPAddresses {
				theirs = append(theirs, ip.String())
			}
			for _, uri := range certificate.URIs {
				theirs = append(theirs, uri.String())
			}
		}
		for _, name := range theirs {
			if slices.ContainsFunc(names, func(allowed string) bool { return strings.EqualFold(allowed, name) }) {
				return nil
			}
		}
		log.Warn("client refused: its certificate has no name that may call", "names", theirs)
		return errors.New("the client's certificate has no name that may call")
	}
}

// Client returns the configuration of a client. It trusts CA alone or, without
// one, the CAs of the system. The other side's name is checked always.
func (f Files) Client() (*tls.Config, error) { return f.config() }

func (f Files) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Cert != "" || f.Key != "" {
		pair := &keyPair{cert: f.Cert, key: f.Key}
		if _, err := pair.get(); err != nil {
			return nil, err
		}
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get() }
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.get() }
	}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", withoutPath(err))
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("read CA: no certificate in PEM")
		}
	}
	return config, nil
}

// keyPair is a certificate that is read again when one of its files changes.
type keyPair struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed [2]time.Time // of the two files when they were read
}

// get returns the certificate. While the files on disk do not fit together, as
// in the middle of being replaced, that is the one before.
func (p *keyPair) get() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var changed [2]time.Time
	for i, file := range []string{p.cert, p.key} {
		if info, err := os.Stat(file); err == nil {
			changed[i] = info.ModTime()
		}
	}
	if p.loaded != nil && changed == p.changed {
		return p.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	switch {
	case err == nil:
		p.loaded, p.changed = &pair, changed
	case p.loaded == nil:
		return nil, fmt.Errorf("read certificate: %w", withoutPath(err))
	}
	return p.loaded, nil
}

// withoutPath returns why a file cannot be read. Who sets a key instead of its
// path would find it in the log.
func withoutPath(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
