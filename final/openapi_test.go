package final

import (
	"testing"

	"github.com/stretchr/testify/require"

	"microcomm/final/apidoc"
)

func TestTheDocumentsOfBothServicesFitTogether(t *testing.T) {
	files, err := apidoc.Files("microcomm", GatewayAPIs()...)
	require.NoError(t, err)
	for _, id := range []string{"createPlatform", "createCommand"} {
		require.Contains(t, string(files["/docs"].Body), `id="`+id+`"`)
		require.Contains(t, string(files["/openapi.json"].Body), id)
	}
}
