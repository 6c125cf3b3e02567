package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// upgrade replaces chapter 07's services, which stand for any older version and
// for the services in .NET, by final's: old and new run side by side on the same
// databases and the same broker, under load. Then the old PlatformService comes
// back, on tables that are newer than it.
func upgrade(ctx context.Context, r *run) error {
	old, err := findStage(filepath.Dir(r.stage.Dir), "07")
	if err != nil {
		return err
	}
	if err := old.build(ctx, filepath.Dir(r.dir), r.progress); err != nil {
		return err
	}
	oldPlatforms, err := r.addPlatforms()
	if err != nil {
		return err
	}
	oldCommands, err := r.addCommands()
	if err != nil {
		return err
	}
	if err := r.as(old, func() error { return r.prepare(ctx) }); err != nil {
		return err
	}
	platforms, err := r.addPlatforms("RABBITMQ_BIND_TRIGGER=true") // the old CommandsService listens there
	if err != nil {
		return err
	}
	commands, err := r.addCommands("PLATFORMS_GRPC_TARGET=" + platforms.grpc)
	if err != nil {
		return err
	}
	r.arrivals = watchArrivals(ctx, r.client, r.commands)

	r.phase("old")
	toOld := r.loadOn(ctx, oldPlatforms)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}

	r.phase("both PlatformServices")
	if err := r.restart(ctx, platforms); err != nil {
		return err
	}
	r.loadOn(ctx, platforms)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.stop(oldPlatforms, "the old PlatformService, under load")
	toOld.stop()

	// After PlatformService: its backfill brings what the old one has published,
	// to an exchange that the new CommandsService does not listen to.
	r.phase("both CommandsServices")
	if err := r.restart(ctx, commands); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	r.stop(oldCommands, "the old CommandsService")

	r.phase("new")
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	r.expectComplete()

	// Back again. Nobody tells the new CommandsService of what the old
	// PlatformService accepts: its next backfill, by the old call, does.
	r.phase("rolled back")
	r.stop(platforms, "the new PlatformService")
	if err := r.as(old, func() error { return r.restart(ctx, oldPlatforms) }); err != nil {
		return fmt.Errorf("the old PlatformService on newer tables: %w", err)
	}
	r.loadOn(ctx, oldPlatforms)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.load.stop()
	r.stop(commands, "the new CommandsService")
	commands.env = []string{"PLATFORMS_GRPC_TARGET=" + oldPlatforms.grpc}
	if err := r.restart(ctx, commands); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	r.tell("Accepted by the old PlatformService on the newer tables", "%d", judge(r.with(r.in("rolled back"))).accepted)
	r.expectComplete()
	return nil
}

// as acts with the programs and the names of another stage.
func (r *run) as(other stage, act func() error) error {
	own := r.stage
	r.stage = other
	defer func() { r.stage = own }()
	return act()
}

// stop ends a service as an upgrade does.
func (r *run) stop(s *service, what string) {
	start := time.Now()
	err := s.terminate()
	r.expect("exit status 0 of "+what, err == nil, "%s", tookOr(time.Since(start), err))
}

// loadOn starts the usual load on one service.
func (r *run) loadOn(ctx context.Context, s *service) *load {
	cfg := usual()
	cfg.targets = []string{s.url}
	r.load = startLoad(ctx, cfg, fmt.Sprintf("drill-%d", len(r.loads)+1))
	r.loads = append(r.loads, r.load)
	r.progress.follow(r.load)
	return r.load
}
