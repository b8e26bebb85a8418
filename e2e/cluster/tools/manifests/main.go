// Command manifests judges manifests without a cluster, with the same code as the API server and the same sandbox as Argo CD.
//
//	manifests json                                  YAML documents on standard input, as one JSON list on standard output
//	manifests validate --crds DIR [--skip GROUP]    YAML documents on standard input: unknown fields, schemas, CEL rules
//	manifests health                                health scripts: a JSON list of cases in, a JSON list of results out
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("usage: manifests json | validate --crds DIR [--skip GROUP] | health")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	crds := flags.String("crds", "", "folder of CustomResourceDefinitions")
	skip := flags.String("skip", "", "API group whose objects are not judged")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	switch arguments[0] {
	case "json":
		objects, err := documents(os.Stdin)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(objects)
	case "validate":
		return validate(os.Stdin, *crds, *skip)
	case "health":
		return health(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("there is no command %q", arguments[0])
}

// documents reads every YAML document; a key that stands twice is an error.
func documents(from io.Reader) ([]map[string]any, error) {
	objects := []map[string]any{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(from))
	for number := 1; ; number++ {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		asJSON, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		if string(asJSON) == "null" {
			continue
		}
		// Integers as int64, as the API server reads them.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(asJSON); err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		objects = append(objects, object.Object)
	}
}
