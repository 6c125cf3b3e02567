// Package chromium finds a Chromium for tests and for pictures, or installs one,
// and says how to start it.
package chromium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"microcomm/docs/tools/internal/apt"
)

// Ensure returns the path of a Chromium or Chrome: CHROMIUM if it is set, else one on
// this machine, else, on Debian and Ubuntu, one that it installs, saying so.
func Ensure(ctx context.Context, progress io.Writer) (string, error) {
	if given := os.Getenv("CHROMIUM"); given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("CHROMIUM is set, but is not a program: %w", err)
		}
		return path, nil
	}
	found, err := apt.Settled(ctx, Find)
	if found != "" || err != nil {
		return found, err
	}
	found, err = apt.Install(ctx, "chromium", Find, progress)
	if err != nil {
		return "", errors.Join(errors.New("no Chromium on this machine; install one, or set CHROMIUM to its path"), err)
	}
	return found, nil
}

// Find is the path of a Chromium or Chrome on this machine, or empty. A snap cannot
// see the temporary folders that tests work in, so it comes last.
func Find() string {
	for _, name := range []string{
		"chromium", "google-chrome-stable", "google-chrome", "chrome", "headless-shell",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
		"/Applications/Chromium.app/Contents/MacOS/Chromium",
		`C:\Program Files\Google\Chrome\Application\chrome.exe`,
		`C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe`,
		"chromium-browser",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Flags are what Chromium is started with so that it works alone: headless, on a
// profile in the folder given, without asking any other host for anything.
func Flags(profile string) []string {
	flags := []string{
		"--headless=new", "--user-data-dir=" + profile,
		"--disable-gpu", "--hide-scrollbars", "--mute-audio",
		"--no-first-run", "--no-default-browser-check", "--no-pings",
		"--disable-background-networking", "--disable-component-update", "--disable-default-apps",
		"--disable-dev-shm-usage", "--disable-domain-reliability", "--disable-extensions",
		"--disable-sync", "--metrics-recording-only", "--password-store=basic", "--use-mock-keychain",
	}
	if os.Geteuid() == 0 {
		flags = append(flags, "--no-sandbox") // Chromium refuses to run as root with it
	}
	return flags
}
