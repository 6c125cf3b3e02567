package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"
)

// addSQLServer adds a database on the server at SQLSERVER_URL, for setting of the
// services.
func (r *run) addSQLServer(ctx context.Context, setting string, services ...*service) (*sqlServerDatabase, error) {
	given := os.Getenv("SQLSERVER_URL")
	if given == "" {
		return nil, fmt.Errorf("%w: SQLSERVER_URL names no SQL Server", errSkipped)
	}
	database, err := createSQLServerDatabase(ctx, given)
	if err != nil {
		return nil, err
	}
	r.databases = append(r.databases, database)
	for _, s := range services {
		s.env = append(s.env, setting+"="+database.url(""))
	}
	return database, nil
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
	database, err := r.addSQLServer(ctx, "DATABASE_URL", r.platforms...)
	if err != nil {
		return err
	}
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
		database, err := r.addSQLServer(ctx, of.setting)
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

// suspendedReplica suspends one replica after the other at random moments, some of
// them in the middle of a transaction. The others must not wait for it.
func suspendedReplica(ctx context.Context, r *run) error {
	for range 2 {
		if _, err := r.addPlatforms(); err != nil {
			return err
		}
	}
	for range 3 {
		if _, err := r.addCommands(); err != nil {
			return err
		}
	}
	if _, err := r.addSQLServer(ctx, "DATABASE_URL", r.platforms...); err != nil {
		return err
	}
	if _, err := r.addSQLServer(ctx, "COMMANDS_DATABASE_URL", r.commands...); err != nil {
		return err
	}
	r.eventsAlone()
	if err := r.begin(ctx, loadConfig{clients: 16, rate: 300}); err != nil {
		return err
	}
	for i := range max(len(r.all()), r.count(20)) {
		if err := r.lasts(ctx, r.atRandom(2*time.Second)); err != nil {
			return err
		}
		s := r.all()[i%len(r.all())]
		r.phase(s.name + " suspended")
		if err := s.suspend(); err != nil {
			return err
		}
		took, err := r.within(ctx, startTimeout, r.flows)
		if resumed := s.resume(); resumed != nil {
			return resumed
		}
		r.expect("platforms to be accepted and to arrive while "+s.name+" is suspended", err == nil, "%s", tookOr(took, err))
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, r.patience())
}
