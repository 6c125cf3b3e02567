package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

// errSkipped is wrapped by the reason why a drill cannot be run here.
var errSkipped = errors.New("cannot be run on this machine")

// diskFull fills the disk that PlatformService's database is on: a small one in
// memory, that the service alone sees.
func diskFull(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	disk := filepath.Join(r.dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		return err
	}
	platforms := r.platforms[0]
	platforms.wrap = []string{"unshare", "--user", "--map-root-user", "--mount",
		"sh", "-c", `mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"`, disk}
	platforms.env = append(platforms.env, "DATABASE_URL=sqlite:"+filepath.Join(disk, "platforms.db"))
	if runtime.GOOS != "linux" {
		return fmt.Errorf("%w: a disk of its own needs Linux", errSkipped)
	}
	try := exec.CommandContext(ctx, platforms.wrap[0], append(platforms.wrap[1:], "true")...)
	if out, err := try.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: it may not mount a disk for a process: %w: %s", errSkipped, err, out)
	}
	var ballast string
	fill := func() error {
		ballast = fmt.Sprintf("/proc/%d/root%s/ballast", platforms.process.PID(), disk)
		file, err := os.Create(ballast)
		if err != nil {
			return err
		}
		defer file.Close()
		for err == nil {
			_, err = file.Write(make([]byte, 4096))
		}
		return nil // it is full
	}
	return r.storageFault(ctx, fill, func() error { return os.Remove(ballast) })
}

// databaseLocked takes the write lock of PlatformService's database, for longer
// than a writer waits.
func databaseLocked(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	db, err := openSQLite(r.platformsFile())
	if err != nil {
		return err
	}
	defer db.Close()
	var lock *sql.Tx
	take := func() error {
		lock, err = db.BeginTx(ctx, nil)
		return err
	}
	return r.storageFault(ctx, take, func() error { return lock.Rollback() })
}

// openSQLite opens a service's database. A transaction takes the lock of writers.
func openSQLite(file string) (*sql.DB, error) {
	return sql.Open("sqlite3", "file:"+file+"?_busy_timeout=5000&_journal_mode=WAL&_txlock=immediate")
}

// storageFault breaks PlatformService's storage until some POSTs have been
// refused for it, and mends it.
func (r *run) storageFault(ctx context.Context, breakIt, mend func() error) error {
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(fault)
	if err := breakIt(); err != nil {
		return fmt.Errorf("break the storage: %w", err)
	}
	if err := r.lasts(ctx, r.times(20*time.Second)); err != nil {
		return err
	}
	// A locked database refuses nothing before a writer has waited its time.
	if _, err := r.within(ctx, startTimeout, func(context.Context) error {
		if !slices.ContainsFunc(r.load.history(), func(p post) bool { return p.outcome == refused }) {
			return errors.New("no POST was refused")
		}
		return nil
	}); err != nil {
		return err
	}
	r.phase(recovering)
	if err := mend(); err != nil {
		return fmt.Errorf("mend the storage: %w", err)
	}
	took, err := r.within(ctx, r.recovery(), r.flows)
	r.expect(fmt.Sprintf("platforms to be accepted and to arrive within %s of mending", r.recovery()), err == nil, "%s", tookOr(took, err))
	r.phase(after)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	refusals, others, silent := 0, 0, 0
	for _, p := range r.in(fault) {
		switch {
		case p.status == 503 && p.retryAfter:
			refusals++
		case p.status == 503:
			silent++
		case p.outcome != accepted:
			others++
		}
	}
	r.expect("503 with Retry-After, and nothing else but 201", refusals > 0 && others == 0 && silent == 0,
		"%d of them, %d without Retry-After, %d other failures", refusals, silent, others)
	r.expectComplete()
	return nil
}
