package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

// loader returns the command that loads images into the cluster, with {image} for an
// image's name. It is empty if the cluster shares Docker's images.
func (k cluster) loader(wanted string) ([]string, error) {
	if wanted != "" {
		command := strings.Fields(wanted)
		if !strings.Contains(wanted, "{image}") {
			command = append(command, "{image}")
		}
		return command, nil
	}
	kind, isKind := strings.CutPrefix(k.context, "kind-")
	k3d, isK3d := strings.CutPrefix(k.context, "k3d-")
	switch {
	case isKind:
		return []string{"kind", "load", "docker-image", "--name", kind, "{image}"}, nil
	case isK3d:
		return []string{"k3d", "image", "import", "--cluster", k3d, "{image}"}, nil
	case k.context == "minikube":
		return []string{"minikube", "image", "load", "{image}"}, nil
	case slices.Contains([]string{"docker-desktop", "rancher-desktop", "orbstack"}, k.context):
		return nil, nil
	}
	return nil, fmt.Errorf("the way to load an image into the cluster of context %s is unknown; name the command with --load 'COMMAND {image}'", k.context)
}

// imagePlan says what images are called, and how they get to the cluster.
type imagePlan struct {
	load     []string // loads or pushes {image}; empty: the cluster shares Docker's images
	registry string   // empty: the names are those of the manifests
	version  string   // with registry
}

func (o deployOptions) imagePlan(k cluster) (imagePlan, error) {
	if (o.registry == "") != (o.version == "") {
		return imagePlan{}, usageError("--image-registry and --version belong together")
	}
	if o.registry != "" && o.load == "" {
		o.load = "docker push {image}"
	}
	load, err := k.loader(o.load)
	return imagePlan{load, strings.TrimSuffix(o.registry, "/"), o.version}, err
}

// buildImages builds the stage's images that the manifests name and gets them into the
// cluster. It returns the manifests with each image under another name: that of its version
// in the registry, or one with a tag derived from its content, so that pods are replaced if
// and only if an image has changed.
func buildImages(ctx context.Context, l *lab, s repo.Stage, manifests string, plan imagePlan) (string, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return "", errors.New("docker is not installed: go tool lab doctor says how to get it")
	}
	version, err := stageVersion(ctx, l.root, s)
	if err != nil {
		return "", err
	}
	for _, image := range ownImages(s, manifests) {
		name, _, _ := strings.Cut(image, ":")
		target := name[strings.LastIndex(name, "/")+1:]
		tags := []string{image}
		if plan.registry != "" {
			tags, version = []string{plan.registry + "/" + target + ":" + plan.version}, plan.version
		}
		fmt.Fprintln(l.err, "building", tags[0])
		if err := loud(ctx, l, s.Dir, "docker", "build", "--tag", tags[0], "--target", target, "--build-arg", "VERSION="+version, "."); err != nil {
			return "", fmt.Errorf("build %s: %w", tags[0], err)
		}
		if plan.registry == "" {
			tagged, err := tagByContent(ctx, image, name)
			if err != nil {
				return "", err
			}
			tags = append(tags, tagged)
		}
		if err := plan.loadImages(ctx, l, s, tags); err != nil {
			return "", err
		}
		manifests = strings.ReplaceAll(manifests, "image: "+image+"\n", "image: "+tags[len(tags)-1]+"\n")
	}
	return manifests, nil
}

// tagByContent gives the image a second tag of that name, derived from its content.
func tagByContent(ctx context.Context, image, name string) (string, error) {
	// The image's id would not do: it depends on the time of the build.
	content, err := output(ctx, "docker", "inspect", "--format", "{{json .RootFS.Layers}} {{json .Config}}", image)
	if err != nil {
		return "", err
	}
	tagged := fmt.Sprintf("%s:%x", name, sha256.Sum256([]byte(content)))[:len(name)+1+12]
	_, err = output(ctx, "docker", "tag", image, tagged)
	return tagged, err
}

// loadImages gets the images into the cluster, or into the registry.
func (p imagePlan) loadImages(ctx context.Context, l *lab, s repo.Stage, images []string) error {
	if p.load == nil {
		return nil
	}
	for _, image := range images {
		command := slices.Clone(p.load)
		for i := range command {
			command[i] = strings.ReplaceAll(command[i], "{image}", image)
		}
		fmt.Fprintln(l.err, "loading", image)
		if err := loud(ctx, l, s.Dir, command[0], command[1:]...); err != nil {
			return fmt.Errorf("load %s into the cluster: %w", image, err)
		}
	}
	return nil
}

// ownImages returns the images in manifests that the stage builds, each once.
func ownImages(s repo.Stage, manifests string) []string {
	var images []string
	for _, found := range regexp.MustCompile(`(?m)^\s*(?:- )?image: (\S+)$`).FindAllStringSubmatch(manifests, -1) {
		if strings.HasPrefix(found[1], s.Module()+"/") && !slices.Contains(images, found[1]) {
			images = append(images, found[1])
		}
	}
	return images
}

// stageVersion returns the last commit that changed the stage, for the first log line of
// the binaries. Changes elsewhere in the repository do not affect it.
func stageVersion(ctx context.Context, root string, s repo.Stage) (string, error) {
	files := []string{"--", s.Name, ":(exclude)" + s.Name + "/exercises"} // an image contains no exercises
	commit, err := repo.Git(ctx, root, append([]string{"log", "-1", "--format=%h"}, files...)...)
	if err != nil {
		return "", err
	}
	changed, err := repo.Git(ctx, root, append([]string{"status", "--porcelain"}, files...)...)
	if err != nil {
		return "", err
	}
	version := strings.TrimSpace(commit)
	if version == "" || changed != "" {
		version += "+changes"
	}
	return version, nil
}

// loud runs a command that takes a while. On a terminal its output is shown; elsewhere
// only the end of it, and only if the command fails.
func loud(ctx context.Context, l *lab, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	c := process.Command{Args: append([]string{name}, args...), Dir: dir}
	if isTerminal(l.err) {
		c.Stdout, c.Stderr = l.err, l.err
	}
	return process.Run(ctx, c)
}
