package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"
)

// sqlServer is a database on a SQL Server, or on one that stands in for it.
type sqlServer interface {
	// url is how a service connects to the database; with an address, by way of that.
	url(address string) string
	address() string // host:port
	// deadlock makes deadlocks, until stop is called, of which a POST is the victim.
	deadlock(ctx context.Context) (stop func() error, err error)
	close() error
}

// addSQLServer adds a database on the server at SQLSERVER_URL, or a fake one.
func (r *run) addSQLServer(ctx context.Context) (sqlServer, error) {
	var s sqlServer
	var err error
	what := "a fake one: the services run with their real driver, and no SQL is executed. With SQLSERVER_URL, a real one"
	if given := os.Getenv("SQLSERVER_URL"); given != "" {
		what = "the one at SQLSERVER_URL"
		s, err = createSQLServerDatabase(ctx, given)
	} else {
		s, err = startFakeSQLServer()
	}
	if err != nil {
		return nil, err
	}
	if len(r.databases) == 0 {
		r.tell("SQL Server", "%s", what)
	}
	r.databases = append(r.databases, s)
	return s, nil
}

// withHost is a URL with another host and port.
func withHost(given, address string) string {
	u, err := url.Parse(given)
	if err != nil || address == "" {
		return given
	}
	u.Host = address
	return u.String()
}

// sqlDeadlock makes the database choose POSTs as victims of deadlocks.
func sqlDeadlock(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	database, err := r.addSQLServer(ctx)
	if err != nil {
		return err
	}
	platforms := r.platforms[0]
	platforms.env = append(platforms.env, "DATABASE_URL="+database.url(""))
	var stop func() error
	return r.storageFault(ctx,
		func() (err error) { stop, err = database.deadlock(ctx); return err },
		func() error { return stop() })
}

// databaseNetwork makes the connection between each service and its database bad.
func databaseNetwork(ctx context.Context, r *run) error {
	commands, err := r.pair()
	if err != nil {
		return err
	}
	platforms := r.platforms[0]
	type link struct {
		service *service
		network *proxy
	}
	var links []link
	for _, of := range []struct {
		service *service
		setting string
	}{{platforms, "DATABASE_URL"}, {commands, "COMMANDS_DATABASE_URL"}} {
		database, err := r.addSQLServer(ctx)
		if err != nil {
			return err
		}
		network, err := r.addProxy(database.address())
		if err != nil {
			return err
		}
		of.service.env = append(of.service.env, of.setting+"="+database.url(network.address()))
		links = append(links, link{of.service, network})
	}
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	samplers := r.sample(ctx)
	defer samplers.stop()
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	slow := networkState{delay: 200 * time.Millisecond}
	for _, fault := range []struct {
		name   string
		states []networkState
	}{
		{"cut", []networkState{{cut: true}}},
		{"stalled", []networkState{{stalled: true}}},
		// So that many a commit is on its way when the connection ends.
		{"slowed, then cut", []networkState{slow, {cut: true}}},
	} {
		for _, link := range links {
			name := fmt.Sprintf("database of %s %s", link.service.program, fault.name)
			r.phase(name)
			for _, state := range fault.states {
				link.network.set(state)
				if err := r.lasts(ctx, r.times(8*time.Second)); err != nil {
					return err
				}
			}
			link.network.set(networkState{})
			took, err := r.within(ctx, r.recovery(), r.flows)
			r.expect(fmt.Sprintf("platforms to arrive again within %s, %s", r.recovery(), name), err == nil, "%s", tookOr(took, err))
		}
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	r.expectNoLeak(ctx, samplers)
	r.expectComplete()
	return nil
}

func (s *fakeSQLServer) url(address string) string {
	return withHost("sqlserver://drill:drill@"+s.address()+"?database=drill&encrypt=disable", address)
}

func (s *fakeSQLServer) deadlock(context.Context) (func() error, error) {
	s.setDeadlocks(true)
	return func() error { s.setDeadlocks(false); return nil }, nil
}
