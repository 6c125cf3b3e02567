package settings_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/settings"
)

func TestEnv(t *testing.T) {
	t.Run("reads what is set, and the default of what is not", func(t *testing.T) {
		e := settings.NewEnv(env(map[string]string{"ADDR": ":8080", "DELAYS": "1s, 2m"}))
		assert.Equal(t, ":8080", e.Addr("ADDR", "localhost:1"))
		assert.Equal(t, "localhost:2", e.Addr("OTHER_ADDR", "localhost:2"))
		assert.Equal(t, []time.Duration{time.Second, 2 * time.Minute}, e.Delays("DELAYS", nil))
		require.NoError(t, e.Err())
	})

	t.Run("names all that are wrong at once, and each once", func(t *testing.T) {
		e := settings.NewEnv(env(map[string]string{"A": "", "B": " amq.b" + strings.Repeat("x", 300)}))
		e.Addr("A", "localhost:1")
		e.BrokerName("B", "b")
		lines := strings.Split(e.Err().Error(), "\n")
		require.Len(t, lines, 2)
		assert.Contains(t, lines[0], "A: ")
		assert.Contains(t, lines[1], "B: ")
	})

	for kind, row := range map[string]struct {
		read         func(e *settings.Env)
		right, wrong []string
	}{
		"an address to listen on": {
			func(e *settings.Env) { e.Addr("X", "localhost:1") },
			[]string{":80", ":0", "localhost:http", "[::1]:80", "[fe80::1%eth0]:80", "0.0.0.0:65535", "a-b.c_d.example.:1"},
			[]string{"", ":", "localhost", "localhost:", "localhost:65536", "localhost:-1", "localhost:99999", "localhost:nosuch", " localhost:80", "localhost:80 ",
				"local host:80", "http://localhost:80", "u:s3cret@localhost:80", "a..b:80", strings.Repeat("a", 64) + ":80", "bücher.example:80"},
		},
		"an address to connect to": {
			func(e *settings.Env) { e.Target("X", "localhost:1") },
			[]string{"localhost:1", ":1"},
			[]string{"localhost:0", "localhost:00", ":0", "", "localhost:99999"},
		},
		"an HTTP URL": {
			func(e *settings.Env) { e.HTTPURL("X", "http://localhost:1/") },
			[]string{"", "http://h/a/b", "https://u:s3cret@h:65535/?a=b", "http://[::1]:80/", "http://u:%40%2Fs3cret@h/"},
			[]string{"h", "http://", "ftp://h/", "http://h:0/", "http://h:99999/", "http://h:-1/", "http://h/ ", " http://h/", "http://u:1/s3cret@h/",
				"http://u:s3cret%@h/", "http://h h/", "http://u:s3cret#x@h/"},
		},
		"an AMQP URL": {
			func(e *settings.Env) { e.AMQPURL("X", "amqp://localhost/") },
			[]string{"amqp://h", "amqps://u:s3cret@h:5671/v", "AMQP://h/", "amqp://u:p%40@h/%2f", "amqp:///v"},
			[]string{"", "h:5672", "http://h/", "amqp://h:0/", "amqp://h:99999/", "amqp://h:-1/", "amqp://h/ ", " amqp://h/", "amqp:h:5672", "amqp://u:1/s3cret@h/",
				"amqp://u:s3cret%@h/", "amqp://u:s3cret@a..b/", "amqp://h/" + strings.Repeat("v", 256), "amqp://h/?heartbeat=s3cret"},
		},
		"a database": {
			func(e *settings.Env) { e.DatabaseURL("X", "sqlite::memory:") },
			[]string{"sqlite::memory:", "sqlite:a b.db", "sqlserver://u:s3cret@h?database=d", "Server=h;Database=d", "Server = tcp:h,1433 ; Database = d;",
				`Data Source=.\SQLEXPRESS;Initial Catalog=my base;User Id=u@h;Password="s3cret;=@"`, " Server=h;Database=d "},
			[]string{"", "x.db", "sqlite:", " sqlite:x.db", "sqlite: x.db", "sqlite:x.db ", "SQLITE:x.db", "sqlite::memory: ", "postgres://u:s3cret@h/d", "odbc:server=h;database=d",
				"sqlserver://u:s3cret@h", "sqlserver://u:s3cret@h:99999?database=d", "sqlserver://u:s3cret@h:0?database=d", "sqlserver://u:s3cret@h:-1?database=d",
				"Server=h,99999;Database=d", "Server=h,0;Database=d", "Server=h;Password=s3cret", "Server=h Password=s3cret;Database=d", "Server=h;Database=d,Password=s3cret",
				"Server=h;Database=d;User Id=u Password=s3cret", "Server=h;Database=" + strings.Repeat("d", 129), " sqlserver://u:s3cret@h?database=d", "sqlserver://u:1/s3cret@h?database=d"},
		},
		"a name for the broker": {
			func(e *settings.Env) { e.BrokerName("X", "x") },
			[]string{"a b:c", strings.Repeat("n", 255), "été"},
			[]string{"", " a", "a ", "a\n", "a\x1bb", "\xff", "amq.topic", strings.Repeat("n", 256), strings.Repeat("é", 128)},
		},
		"delays": {
			func(e *settings.Env) { e.Delays("X", nil) },
			[]string{"", "1ms", "1s,10s", "1193h"},
			[]string{" ", "1s,", "0s", "-1s", "1us", "1194h", "1"},
		},
		"a duration": {
			func(e *settings.Env) { e.Duration("X", time.Second) },
			[]string{"1ms", "2h"},
			[]string{"", "0s", "-1s", "1", "1ns", "1s "},
		},
		"a boolean": {
			func(e *settings.Env) { e.Boolean("X", true) }, []string{"true", "FALSE", "1"}, []string{"", "yes", "true ", " false"},
		},
	} {
		for _, value := range row.right {
			t.Run(kind+": "+value, func(t *testing.T) {
				e := settings.NewEnv(env(map[string]string{"X": value}))
				row.read(e)
				require.NoError(t, e.Err())
			})
		}
		for _, value := range row.wrong {
			t.Run("no "+kind+": "+value, func(t *testing.T) {
				e := settings.NewEnv(env(map[string]string{"X": value}))
				row.read(e)
				require.ErrorContains(t, e.Err(), "X: ")
				assert.NotContains(t, e.Err().Error(), "s3cret")
				assert.NotContains(t, e.Err().Error(), "%!")
			})
		}
	}
}

func TestWarnMistyped(t *testing.T) {
	for variable, meant := range map[string]string{
		"PLATFORM_HTTP_ADDR=:1":     "PLATFORMS_HTTP_ADDR",
		"PLATFORMS_HTTP_ADDRESS=:1": "PLATFORMS_HTTP_ADDR",
		"platforms_http_addr=:1":    "PLATFORMS_HTTP_ADDR",
		"PLATFORMS-HTTP-ADDR=:1":    "PLATFORMS_HTTP_ADDR",
		"RABBIT_URL=x":              "RABBITMQ_URL",
		"DATABASE_URI=x":            "DATABASE_URL",
		"LOGLEVEL=x":                "LOG_LEVEL",

		"PLATFORMS_HTTP_ADDR=:1": "",
		"DATABASE_USER=x":        "", // another program's
		"DATABASE_PORT=1":        "",
		"RABBITMQ_CLUSTERIP_SRV_PORT=tcp://10.0.0.1:5672": "", // Kubernetes sets these
		"PLATFORMS_CLUSTERIP_SRV_SERVICE_HOST=10.0.0.1":   "",
		"OTEL_LOGS_EXPORTER=none":                         "",
		"PATH=/bin":                                       "",
	} {
		t.Run(variable, func(t *testing.T) {
			recorder := settings.NewRecorder(env(nil))
			for _, name := range []string{"PLATFORMS_HTTP_ADDR", "RABBITMQ_URL", "DATABASE_URL", "LOG_LEVEL", "OTEL_TRACES_EXPORTER"} {
				recorder.Lookup(name)
			}
			var out strings.Builder
			recorder.WarnMistyped([]string{variable}, logTo(&out))
			if meant == "" {
				assert.Empty(t, out.String())
				return
			}
			name, value, _ := strings.Cut(variable, "=")
			assert.Contains(t, out.String(), "name="+name+" similar="+meant)
			assert.NotContains(t, out.String(), "="+value+" ")
		})
	}
}
