//go:build exercise

package e2e

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/testkit"
	"microcomm/final/proto"
)

// calls is a PlatformService that accepts the tokens of issuer, and a client of its gRPC.
type calls struct {
	*system
	issuer *testkit.Issuer
	key    testkit.SigningKey
	client proto.GrpcPlatformClient
}

func newCalls(t *testing.T) *calls {
	t.Helper()
	c := &calls{issuer: testkit.NewIssuer(t), key: testkit.NewKey(t, "first", "RS256")}
	c.issuer.Publish(c.key)
	c.system = guarded(t, c.issuer, "SEED_DATA=true", "BACKFILL_READY_TIMEOUT=1s")
	c.platforms.token = c.token(t, "platforms:read")
	c.platforms.start(t)
	connection, err := grpc.NewClient(c.setting("PLATFORMS_GRPC_ADDR"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	c.client = proto.NewGrpcPlatformClient(connection)
	return c
}

// setting returns the value of a setting of both services.
func (c *calls) setting(name string) (value string) {
	for _, variable := range c.platforms.env {
		if found, ok := strings.CutPrefix(variable, name+"="); ok {
			value = found
		}
	}
	return value
}

// token returns a valid token with this scope.
func (c *calls) token(t *testing.T, scope string) string {
	return testkit.Sign(t, c.key, c.issuer.Claims("commandsservice", scope), nil)
}

// require requires both calls to end with this code. An empty token is not sent.
func (c *calls) require(t *testing.T, want codes.Code, token string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	// The gRPC server is there a moment after the first response over HTTP.
	_, err := c.client.GetAllPlatforms(ctx, &proto.GetAllRequest{}, grpc.WaitForReady(true))
	assert.Equal(t, want, status.Code(err), "GetAllPlatforms: %v", err)
	stream, err := c.client.StreamPlatforms(ctx, &proto.StreamPlatformsRequest{PageSize: 1})
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, want, status.Code(err), "StreamPlatforms: %v", err)
}

func TestCallsNeedAToken(t *testing.T) {
	c := newCalls(t)
	c.require(t, codes.OK, c.token(t, "platforms:read"))
	c.require(t, codes.Unauthenticated, "")
	c.require(t, codes.Unauthenticated, "nonsense")
	expired := c.issuer.Claims("commandsservice", "platforms:read")
	expired["exp"] = time.Now().Add(-time.Hour).Unix()
	c.require(t, codes.Unauthenticated, testkit.Sign(t, c.key, expired, nil))

	t.Run("but not while access control is off", func(t *testing.T) {
		open := &calls{system: local(t, "RABBITMQ_URL=amqp://127.0.0.1:1/")}
		open.platforms.start(t)
		connection, err := grpc.NewClient(open.setting("PLATFORMS_GRPC_ADDR"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		defer connection.Close()
		open.client = proto.NewGrpcPlatformClient(connection)
		open.require(t, codes.OK, "")
	})
}

func TestTokenIsForThisService(t *testing.T) {
	c := newCalls(t)
	for _, audience := range []any{"another-service", testkit.Audience + "-staging", []string{"a", "b"}, nil} {
		claims := c.issuer.Claims("commandsservice", "platforms:read")
		claims["aud"] = audience
		c.require(t, codes.Unauthenticated, testkit.Sign(t, c.key, claims, nil))
	}
}

func TestScopesAreWholeWords(t *testing.T) {
	c := newCalls(t)
	for _, scope := range []string{"", "platforms:write", "commands:read", "platforms:readonly", "my-platforms:read", "platforms:read:names platforms"} {
		c.require(t, codes.PermissionDenied, c.token(t, scope))
	}
	c.require(t, codes.OK, c.token(t, "commands:read platforms:read"))
}

func TestTokenDoesNotChooseItsAlgorithm(t *testing.T) {
	c := newCalls(t)
	der, err := x509.MarshalPKIXPublicKey(c.key.Private.Public())
	require.NoError(t, err)
	for _, secret := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})} {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, c.issuer.Claims("commandsservice", "platforms:read"))
		token.Header["typ"], token.Header["kid"] = "at+jwt", c.key.ID
		text, err := token.SignedString(secret)
		require.NoError(t, err)
		c.require(t, codes.Unauthenticated, text)
	}
	_, claims, _ := strings.Cut(c.token(t, "platforms:read"), ".")
	claims, _, _ = strings.Cut(claims, ".")
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt","kid":"first"}`))
	c.require(t, codes.Unauthenticated, header+"."+claims+".")
}

func TestKeysAreReadSafely(t *testing.T) {
	c := newCalls(t)
	c.require(t, codes.Unauthenticated, "")
	for _, settings := range [][]string{
		{"AUTH_ISSUER=http://issuer.example"},
		{"AUTH_JWKS_URL=http://issuer.example/keys"},
	} {
		output, exit := runProgram(t, "platformservice", append(c.platforms.env, settings...))
		assert.Equal(t, 2, exit, settings)
		assert.Contains(t, output, "AUTH_")
	}
}

func TestBackfillSendsItsToken(t *testing.T) {
	c := newCalls(t)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(c.token(t, "commands:read")+"\n"), 0o600))
	c.commands.env = append(c.commands.env, "COMMANDS_GRPC_TOKEN_FILE="+file)
	c.commands.token = c.token(t, "platforms:read commands:read")
	c.commands.start(t)
	eventually(t, "a backfill that is refused", func() bool { return strings.Contains(c.commands.logs.String(), "PermissionDenied") })

	// Tokens expire, so another program replaces the file now and then.
	require.NoError(t, os.WriteFile(file, []byte(c.token(t, "platforms:read")), 0o600))
	eventually(t, "a backfill with the new token", func() bool {
		code, _, err := c.commands.send("GET", "/api/c/platforms/1/commands", "")
		return err == nil && code == 200
	})
	assert.NotContains(t, c.commands.logs.String()+c.platforms.logs.String(), strings.Split(c.token(t, "platforms:read"), ".")[0])
}
