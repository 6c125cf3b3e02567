package commandsservice

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What System.Text.Json 4.0.1.1 (.NET Core 3.1.2), with its default options, made of the
// .NET service's PlatformPublishedDto. Neither that service nor a broker was involved.
// docs/tests/api holds the same events against the document.
const dotnetEvents = `{"Id":1,"Name":"Docker","Event":"Platform_Published"}
{"Id":2,"Name":"say \u0022hello\u0022","Event":"Platform_Published"}
{"Id":3,"Name":"Bob\u0027s","Event":"Platform_Published"}
{"Id":4,"Name":"K\u00E4sekuchen f\u00FCr \u00D6mer","Event":"Platform_Published"}
{"Id":5,"Name":"rocket \uD83D\uDE80 \u0026 family \uD83D\uDC69\u200D\uD83D\uDCBB","Event":"Platform_Published"}
{"Id":6,"Name":"a\u003Cb\u003E","Event":"Platform_Published"}
{"Id":7,"Name":"C\u002B\u002B","Event":"Platform_Published"}
{"Id":8,"Name":"two\nlines\tand a tab","Event":"Platform_Published"}
{"Id":9,"Name":"back\\slash/slash","Event":"Platform_Published"}
{"Id":10,"Name":"\u65E5\u672C\u8A9E","Event":"Platform_Published"}
{"Id":11,"Name":"\u2028\u007F\u0001","Event":"Platform_Published"}`

func TestEventsOfTheDotnetSerializer(t *testing.T) {
	p := newTestProcessor(t)
	var want []platform
	for i, name := range []string{
		"Docker", `say "hello"`, "Bob's", "Käsekuchen für Ömer", "rocket 🚀 & family \U0001F469\u200D\U0001F4BB",
		"a<b>", "C++", "two\nlines\tand a tab", `back\slash/slash`, "日本語", "\u2028\u007f\u0001",
	} {
		want = append(want, platform{ExternalID: int32(i + 1), Name: name})
	}
	require.Equal(t, slices.Repeat([]error{nil}, len(want)), p.handle(t, strings.Split(dotnetEvents, "\n")...))
	p.requirePlatforms(t, want...)
}
