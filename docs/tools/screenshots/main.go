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

	"microcomm/docs/tools/internal/chromium"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

// picture is a moment of one recording, or of two side by side.
type picture struct {
	name          string
	recordings    []string
	at            float64 // seconds after the beginning
	width, height int
}

var pictures = []picture{
	{"console-broker-down", []string{"broker-down"}, 16, 1280, 1010},
	{"console-side-by-side", []string{"06-subscriber-down", "07-subscriber-down"}, 13, 1600, 960},
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
	browser, err := chromium.Ensure(ctx, os.Stdout)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(page)), ReadHeaderTimeout: time.Second}
	go server.Serve(listener) // until Close
	defer server.Close()
	for _, p := range pictures {
		if err := p.take(ctx, browser, "http://"+listener.Addr().String(), filepath.Join(out, p.name+".png")); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// take writes the picture to file, with few enough colours to be small.
func (p picture) take(ctx context.Context, browser, url, file string) error {
	profile, err := os.MkdirTemp("", "microcomm-screenshots-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(profile)
	query := fmt.Sprintf("/?at=%g", p.at)
	for _, name := range p.recordings {
		query += "&play=console/" + name + ".ndjson"
	}
	shot := filepath.Join(profile, "shot.png")
	args := append([]string{browser}, chromium.Flags(profile)...)
	args = append(args, fmt.Sprintf("--window-size=%d,%d", p.width, p.height), "--virtual-time-budget=3000", "--screenshot="+shot)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var output bytes.Buffer
	if err := process.Run(ctx, process.Command{Args: append(args, url+query), Stdout: &output, Stderr: &output}); err != nil {
		return fmt.Errorf("%w\n%s", err, output.String())
	}
	taken, err := os.ReadFile(shot)
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
