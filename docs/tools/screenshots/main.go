// Command screenshots makes the pictures of the console that the documents show, from
// recordings in final/console/page: make screenshots.
//
// With --record it starts final instead, plays a story on it, and keeps what the console
// has seen as broker-down.ndjson: make recordings.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"microcomm/docs/tools/internal/chromium"
	"microcomm/docs/tools/internal/repo"
)

// picture is a moment of one recording, or of two side by side.
type picture struct {
	name          string
	recordings    []string
	at            float64 // seconds after the beginning
	width, height int64
	live          bool // the first recording, as if it happened now; the page has asked for its fault
}

var pictures = []picture{
	{"console-broker-down", []string{"broker-down"}, 16, 1280, 1010, false},
	{"console-side-by-side", []string{"06-subscriber-down", "07-subscriber-down"}, 13, 1600, 960, false},
	{"console-predict", []string{"broker-down"}, 16, 1280, 1260, true},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	record := flag.Bool("record", false, "record the story broker-down instead, on final")
	out := flag.String("out", "", "write the pictures to this `folder` (default docs)")
	flag.Parse()
	if err := run(ctx, *record, *out); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, record bool, out string) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	page := filepath.Join(root, "final", "console", "page")
	if record {
		return recordStory(ctx, filepath.Join(page, "console", "broker-down.ndjson"))
	}
	if out == "" {
		out = filepath.Join(root, "docs")
	}
	found, err := chromium.Ensure(ctx, os.Stdout)
	if err != nil {
		return err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(found), chromedp.Flag("hide-scrollbars", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root with it
	}
	browser, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	for _, p := range pictures {
		for theme, suffix := range map[string]string{"light": "", "dark": "-dark"} {
			file := filepath.Join(out, p.name+suffix+".png")
			if err := p.take(browser, page, theme, file); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// take writes the picture to file, with few enough colours to be small.
func (p picture) take(ctx context.Context, page, theme, file string) error {
	handler := http.NewServeMux()
	handler.Handle("/", http.FileServer(http.Dir(page)))
	query := fmt.Sprintf("/?at=%g", p.at)
	for _, name := range p.recordings {
		query += "&play=console/" + name + ".ndjson"
	}
	show := chromedp.Steps(settled)
	if p.live {
		told, err := newPlayback(page, p.recordings[0], p.at)
		if err != nil {
			return err
		}
		handler.HandleFunc("GET /feed", told.feed)
		handler.HandleFunc("POST /control/faults", told.control)
		query, show = "/", predict
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go server.Serve(listener) // until Close
	defer server.Close()

	tab, closeTab := chromedp.NewContext(ctx)
	defer closeTab()
	tab, cancel := context.WithTimeout(tab, time.Minute)
	defer cancel()
	media := chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	})
	err = chromedp.Do(tab, media, chromedp.EmulateViewport(p.width, p.height), chromedp.Navigate("http://"+listener.Addr().String()+query), show)
	if err != nil {
		return err
	}
	taken, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	small, err := reduce(taken)
	if err != nil {
		return err
	}
	fmt.Printf("%s %d kB\n", file, len(small)/1000)
	return os.WriteFile(file, small, 0o644)
}

// settled is a page that has come to its moment, and in which nothing moves.
var settled = until(`document.querySelector('main .mc-map') && !microcommConsole.player?.playing`)

// predict asks the live page to kill the broker, and waits for what comes of it.
var predict = chromedp.Steps(
	until(`document.querySelector('.mc-faults [title="Kill the broker"]')?.disabled === false`),
	chromedp.Click(chromedp.CSS(`.mc-faults [title="Kill the broker"]`)),
	chromedp.SetValue(chromedp.CSS("#mc-prediction"), "0"),
	chromedp.Click(chromedp.CSS(".mc-question .mc-danger")),
	until(`document.querySelector('.mc-bets').textContent.includes('of 3 platforms')`),
	chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`),
)

// until waits until an expression of the page is true.
func until(expression string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Poll[bool]("Boolean("+expression+")")(ctx, target)
		return chromedp.Void{}, err
	}
}

// reduce encodes a picture again with its 256 most frequent colours, and the nearest
// of them for the others.
func reduce(taken []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(taken))
	if err != nil {
		return nil, err
	}
	bounds := full.Bounds()
	frequency := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA {
		r, g, b, _ := full.At(x, y).RGBA()
		return color.RGBA{uint8(r>>8) &^ 3, uint8(g>>8) &^ 3, uint8(b>>8) &^ 3, 255}
	}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			frequency[at(x, y)]++
		}
	}
	small := image.NewPaletted(bounds, mostFrequent(frequency, 256))
	index := map[color.RGBA]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, known := index[c]
			if !known {
				i = uint8(small.Palette.Index(c))
				index[c] = i
			}
			small.SetColorIndex(x, y, i)
		}
	}
	var encoded bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	err = encoder.Encode(&encoded, small)
	return encoded.Bytes(), err
}
