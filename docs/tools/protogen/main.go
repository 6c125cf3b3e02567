// Command protogen generates the Go code of the stages' gRPC contract. It
// compiles proto/platforms.proto in pure Go, so no protoc is needed, and runs
// the generator plugins that docs/go.mod pins.
//
//	go tool protogen              every stage that has proto/platforms.proto
//	go tool protogen 07-grpc      that stage
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"microcomm/docs/tools/internal/repo"
)

// source is the contract's name: as a file and inside the generated code.
const source = "platforms.proto"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stages []string) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	if len(stages) == 0 {
		if stages, err = stagesWithContract(root); err != nil {
			return err
		}
	}
	for _, stage := range stages {
		dir := filepath.Join(root, stage, "proto")
		files, err := generate(ctx, filepath.Join(root, "docs"), dir)
		if err != nil {
			return fmt.Errorf("generate %s: %w", stage, err)
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
				return fmt.Errorf("generate %s: %w", stage, err)
			}
			fmt.Println(filepath.Join(stage, "proto", name))
		}
	}
	return nil
}

func stagesWithContract(root string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, "*", "proto", source))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no stage has proto/%s", source)
	}
	var stages []string
	for _, file := range found {
		stages = append(stages, filepath.Base(filepath.Dir(filepath.Dir(file))))
	}
	return stages, nil
}

// generate returns the generated files, by name, of the contract in dir. The plugins are
// the tools that the module in docsDir pins.
func generate(ctx context.Context, docsDir, dir string) (map[string][]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard, // keeps the comments
	}
	compiled, err := compiler.Compile(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(compiled[0])},
		// The contract has no go_package, which would name one stage's module:
		// the code of every stage is the same, byte for byte.
		Parameter: proto.String("paths=source_relative,M" + source + "=microcomm/proto;proto"),
	}
	input, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the plugins' request: %w", err)
	}
	files := map[string][]byte{}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		response, err := runPlugin(ctx, docsDir, plugin, input)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", plugin, err)
		}
		for _, file := range response.File {
			files[file.GetName()] = []byte(file.GetContent())
		}
	}
	return files, nil
}

func runPlugin(ctx context.Context, docsDir, plugin string, input []byte) (*pluginpb.CodeGeneratorResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // the first run downloads and compiles it
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Dir = docsDir
	cmd.Env = append(os.Environ(), "GOWORK=off") // only the versions in docs/go.mod
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	response := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(output, response); err != nil {
		return nil, fmt.Errorf("decode its answer: %w", err)
	}
	if response.Error != nil {
		return nil, errors.New(response.GetError())
	}
	return response, nil
}

// stale lists the files in dir that differ from the output of generate.
func stale(ctx context.Context, docsDir, dir string) ([]string, error) {
	files, err := generate(ctx, docsDir, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !bytes.Equal(have, want) {
			names = append(names, name)
		}
	}
	return names, nil
}
