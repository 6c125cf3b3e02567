package main

import (
	"path/filepath"
	"time"
)

// upgrade replaces stage 07's services, which stand for any older version and
// for the services in .NET, by final's: old and new run side by side on the same
// databases and the same broker, under load. Then the old PlatformService is started
// again, on tables that are newer than it.
func upgrade(r *run) {
	old := get(build(r.ctx, get(findStage(filepath.Dir(r.stage.Dir), "07")), filepath.Dir(r.dir), r.progress))
	oldPlatforms, oldCommands := r.pair()
	r.as(old, r.prepare)
	platforms := r.addPlatforms("RABBITMQ_BIND_TRIGGER=true") // the old CommandsService listens there
	commands := r.addCommands("PLATFORMS_GRPC_TARGET=" + platforms.grpc)
	r.arrivals = watchArrivals(r.ctx, r.client, r.commands)

	r.phase("old")
	r.loadOn(oldPlatforms)
	toOld := r.load
	r.lasts(5 * time.Second)

	r.phase("both PlatformServices")
	r.restart(platforms)
	r.loadOn(platforms)
	r.lasts(5 * time.Second)
	r.stop(oldPlatforms, "the old PlatformService, under load")
	toOld.stop()

	// CommandsService comes second: its backfill brings what the old PlatformService
	// has published, to an exchange that the new CommandsService does not listen to.
	r.phase("both CommandsServices")
	r.restart(commands)
	r.lasts(3 * time.Second)
	r.stop(oldCommands, "the old CommandsService")

	r.phase("new")
	r.lasts(5 * time.Second)
	r.finish()
	r.expectComplete()

	// The way back. The new CommandsService receives no event for what the old
	// PlatformService accepts; its next backfill, by the old call, brings that.
	r.phase("rolled back")
	r.stop(platforms, "the new PlatformService")
	r.as(old, func() { r.restart(oldPlatforms) })
	r.loadOn(oldPlatforms)
	r.lasts(5 * time.Second)
	r.load.stop()
	r.stop(commands, "the new CommandsService")
	commands.env = []string{"PLATFORMS_GRPC_TARGET=" + oldPlatforms.grpc}
	r.restart(commands)
	r.finish()
	r.tell("Accepted by the old PlatformService on the newer tables", "%d", judge(r.with(r.in("rolled back"))).accepted)
	r.expectComplete()
}

// as acts with the programs and the names of another stage.
func (r *run) as(other built, act func()) {
	own := r.stage
	r.stage = other
	defer func() { r.stage = own }()
	act()
}

// stop ends a service as an upgrade does.
func (r *run) stop(s *service, what string) {
	start := time.Now()
	err := s.terminate()
	r.expect("exit status 0 of "+what, err == nil, "%s", tookOr(time.Since(start), err))
}

// loadOn starts the usual load on one service.
func (r *run) loadOn(s *service) {
	load := usual()
	load.targets = []string{s.url}
	r.startLoad(load)
}
