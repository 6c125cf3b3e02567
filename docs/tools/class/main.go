// Command class is the instructor's board: learners who want to be seen report the
// result of a check, and the board shows who is where. It is behind go tool lab class.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/exercise"
	"microcomm/docs/tools/internal/repo"
)

func main() {
	cli.Main("class", func(ctx context.Context, args []string) error {
		return command(ctx, args, os.Stdout)
	})
}

func command(ctx context.Context, args []string, stdout io.Writer) error {
	var flags cli.Class
	set := flag.NewFlagSet("class", flag.ContinueOnError)
	flags.Declare(set)
	rest, err := cli.Parse(set, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return cli.UsageError("class takes no arguments; see: go tool lab help class")
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	exercises, err := all(root)
	if err != nil {
		return err
	}
	file := flags.File
	if file == "" {
		file = filepath.Join(root, ".lab", "class.json")
	}
	b, err := openBoard(file, exercises)
	if err != nil {
		return err
	}
	return serve(ctx, flags.Listen, handler(b, filepath.Join(root, "docs", "book")), stdout)
}

// all is every exercise of every stage.
func all(root string) ([]*exercise.Exercise, error) {
	stages, err := repo.Stages(root)
	if err != nil {
		return nil, err
	}
	var found []*exercise.Exercise
	for _, s := range stages {
		of, err := exercise.List(root, s.Name)
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return found, nil
}

// serve serves h at the address until ctx ends.
func serve(ctx context.Context, address string, h http.Handler, stdout io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve the board: %w", err)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	for _, url := range urls(listener.Addr()) {
		fmt.Fprintf(stdout, "The board: %s/class  The book: %[1]s/\n  learners: go tool lab check STAGE EXERCISE --report %[1]s\n", url)
	}
	fmt.Fprintln(stdout, "until Ctrl-C")
	select {
	case err = <-served:
		return fmt.Errorf("serve the board: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("stop the board: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the board: %w", err)
	}
	return nil
}

// urls are the addresses under which others reach a listener: one for each of this
// machine's, if it listens on all.
func urls(listening net.Addr) []string {
	at, ok := listening.(*net.TCPAddr)
	if !ok || !at.IP.IsUnspecified() {
		return []string{"http://" + listening.String()}
	}
	var found []string
	addresses, _ := net.InterfaceAddrs() // without them, the name of this machine has to do
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			found = append(found, fmt.Sprintf("http://%s:%d", n.IP, at.Port))
		}
	}
	if len(found) == 0 {
		found = []string{fmt.Sprintf("http://localhost:%d", at.Port)}
	}
	return found
}
