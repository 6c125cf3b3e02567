package web

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"
)

// minRSABits is the size of the smallest RSA key that is accepted (RFC 7518, section 3.3).
const minRSABits = 2048

// keyring holds the keys of an issuer. It does not change.
type keyring struct {
	keys map[keyName]publicKey
	size int // how many keys there are; one may have several names
}

// keyName is the id of a key and an algorithm that the key may be used with.
type keyName struct{ id, algorithm string }

// publicKey is implemented by the public keys of package crypto.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// key returns a key to verify a signature with, or nil.
func (k *keyring) key(id, algorithm string) any {
	if k == nil {
		return nil
	}
	if key, ok := k.keys[keyName{id, algorithm}]; ok {
		return key
	}
	return nil
}

// equal reports whether both hold the same keys.
func (k *keyring) equal(other *keyring) bool {
	return other != nil && maps.EqualFunc(k.keys, other.keys, func(a, b publicKey) bool { return a.Equal(b) })
}

// jwk is a key in JSON (RFC 7517).
type jwk struct {
	KeyType    string   `json:"kty"`
	ID         string   `json:"kid"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

// parseKeys returns the keys of a JSON Web Key Set that can verify tokens. It skips
// others, and returns an error when none is left.
func parseKeys(text []byte) (*keyring, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	ring := &keyring{keys: map[keyName]publicKey{}}
	for _, text := range set.Keys {
		var k jwk
		if json.Unmarshal(text, &k) != nil || k.Use != "" && k.Use != "sig" || k.Operations != nil && !slices.Contains(k.Operations, "verify") {
			continue
		}
		key, fitting := k.publicKey()
		if key == nil || k.Algorithm != "" && !slices.Contains(fitting, k.Algorithm) {
			continue
		}
		if k.Algorithm != "" {
			fitting = []string{k.Algorithm}
		}
		for _, algorithm := range fitting {
			ring.keys[keyName{k.ID, algorithm}] = key
		}
		ring.size++
	}
	if ring.size == 0 {
		return nil, errors.New("there is no key that could verify a token")
	}
	return ring, nil
}

// publicKey returns the key and the algorithms that it fits, or nil.
func (k jwk) publicKey() (publicKey, []string) {
	n, errN := base64.RawURLEncoding.DecodeString(k.N)
	e, errE := base64.RawURLEncoding.DecodeString(k.E)
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	if errors.Join(errN, errE, errX, errY) != nil {
		return nil, nil
	}
	switch {
	case k.KeyType == "RSA":
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if len(e) > 4 || key.E < 3 || key.N.BitLen() < minRSABits {
			return nil, nil
		}
		return key, []string{"RS256", "PS256"}
	case k.KeyType == "EC" && k.Curve == "P-256" && len(x) == 32 && len(y) == 32:
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, nil
		}
		return key, []string{"ES256"}
	case k.KeyType == "OKP" && k.Curve == "Ed25519" && len(x) == ed25519.PublicKeySize:
		return ed25519.PublicKey(x), []string{"EdDSA"}
	}
	return nil, nil
}
