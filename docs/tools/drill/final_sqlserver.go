package main

import (
	"fmt"
	"net/url"
	"os"
	"time"

	"microcomm/docs/tools/internal/badnet"
)

// addSQLServer adds a database on the server at SQLSERVER_URL, for setting of the
// services.
func (r *run) addSQLServer(setting string, services ...*service) *sqlServerDatabase {
	given := os.Getenv("SQLSERVER_URL")
	if given == "" {
		must(fmt.Errorf("%w: SQLSERVER_URL names no SQL Server", errSkipped))
	}
	database := get(createSQLServerDatabase(r.ctx, given))
	r.databases = append(r.databases, database)
	for _, s := range services {
		s.env = append(s.env, setting+"="+database.url(""))
	}
	return database
}

// withHost returns given with another host and port, if address has one.
func withHost(given, address string) string {
	u, err := url.Parse(given)
	if err != nil || address == "" {
		return given
	}
	u.Host = address
	return u.String()
}

// sqlDeadlock makes the database choose POSTs as victims of deadlocks.
func sqlDeadlock(r *run) {
	r.pair()
	database := r.addSQLServer("DATABASE_URL", r.platforms...)
	var stop func() error
	r.storageFault(
		func() { stop = get(database.deadlock(r.ctx)) },
		func() { must(stop()) })
	r.expectRefusals()
}

// databaseNetwork breaks the connection between each service and its database.
func databaseNetwork(r *run) {
	platforms, commands := r.pair()
	type link struct {
		service *service
		network *badnet.Proxy
	}
	connect := func(s *service, setting string) link {
		database := r.addSQLServer(setting)
		network := r.addProxy(database.address())
		s.env = append(s.env, setting+"="+database.url(network.Address()))
		return link{s, network}
	}
	links := []link{connect(platforms, "DATABASE_URL"), connect(commands, "COMMANDS_DATABASE_URL")}
	r.begin(usual())
	samplers := r.sample()
	defer samplers.stop()
	r.lasts(3 * time.Second)
	slow := badnet.State{Delay: 200 * time.Millisecond}
	for _, fault := range []struct {
		name   string
		states []badnet.State
	}{
		{"cut", []badnet.State{{Cut: true}}},
		{"stalled", []badnet.State{{Stalled: true}}},
		// So that many commits are on their way when the connection ends.
		{"slowed, then cut", []badnet.State{slow, {Cut: true}}},
	} {
		for _, link := range links {
			name := fmt.Sprintf("database of %s %s", link.service.program, fault.name)
			r.phase(name)
			for _, state := range fault.states {
				link.network.Set(state)
				r.lasts(8 * time.Second)
			}
			link.network.Set(badnet.State{})
			r.expectRecovery("platforms to arrive again within %s, "+name, r.flowing)
		}
	}
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
	r.expectNoLeak(samplers)
	r.expectComplete()
}

// suspendedReplica suspends one replica after the other at random moments, some of
// them in the middle of a transaction. The others must not wait for it.
func suspendedReplica(r *run) {
	r.services(2, 3)
	r.addSQLServer("DATABASE_URL", r.platforms...)
	r.addSQLServer("COMMANDS_DATABASE_URL", r.commands...)
	r.eventsAlone()
	r.begin(loadConfig{clients: 16, rate: 300})
	for i := range max(len(r.all()), r.count(20)) {
		s := r.all()[i%len(r.all())]
		r.lasts(upTo(2 * time.Second))
		r.phase(s.name + " suspended")
		must(s.suspend())
		r.expectWithin(startTimeout, "platforms to be accepted and to arrive while "+s.name+" is suspended", r.flowing)
		must(s.resume())
	}
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
}
