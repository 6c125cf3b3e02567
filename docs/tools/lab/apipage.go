package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/process"
)

// apiPage is where the page about a chapter's APIs listens: docs/tools/apidocs, which
// forwards what is sent from the page to the services.
var apiPage = endpoint{"API_PAGE_ADDR", "localhost:8081"}

// describe starts the page about the APIs of a chapter, and returns what stops it. final
// serves its own. The stage also runs without a page: it only says why there is none.
func (f *fleet) describe(ctx context.Context) (stop func()) {
	if f.stage.Has("apidoc") {
		for _, service := range f.services {
			if service.binary != "" {
				f.pages = append(f.pages, "http://"+service.http.address()+"/docs")
			}
		}
		return func() {}
	}
	if !f.stage.Has("platformservice/openapi.yaml") {
		return func() {}
	}
	p, address, err := f.startPage(ctx)
	if err != nil {
		fmt.Fprintln(f.lab.err, "no API page:", err)
		return func() {}
	}
	f.pages = []string{"http://" + address + "/docs"}
	return func() { p.Stop(2 * time.Second) }
}

func (f *fleet) startPage(ctx context.Context) (*process.Process, string, error) {
	program := filepath.Join(f.dir, "apidocs.exe")
	build := process.Command{
		Args: []string{"go", "build", "-buildvcs=false", "-o", program, "./tools/apidocs"},
		Dir:  filepath.Join(f.lab.root, "docs"), Env: append(os.Environ(), "GOWORK=off"),
	}
	if err := process.Run(ctx, build); err != nil {
		return nil, "", err
	}
	address := apiPage.address()
	if portFree(ctx, address) != nil && os.Getenv(apiPage.setting) == "" {
		address = someFreeAddress()
	}
	args := []string{program, "-addr", address, "-title", "microcomm " + f.stage.Name}
	for _, name := range []string{"platformservice", "commandsservice"} {
		if service := f.find(name); service != nil {
			args = append(args, filepath.Join(f.stage.Dir, name, "openapi.yaml")+"=http://"+service.http.address())
		}
	}
	p, err := process.Start(process.Command{Args: args})
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for { // it has read the documents when it listens
		if _, _, err = request(ctx, address, "GET", "/docs", ""); err == nil {
			return p, address, nil
		}
		select {
		case <-p.Done():
			return nil, "", cmp.Or(p.Err(), err)
		case <-ctx.Done():
			p.Kill()
			return nil, "", err
		case <-poll.C:
		}
	}
}
