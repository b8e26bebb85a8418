package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// A kind's schema, as the API server uses it.
type kind struct {
	structural *structural.Structural
	openapi    validation.SchemaValidator
	rules      *cel.Validator
}

// validate judges every document and tells all faults, not only the first.
func validate(from io.Reader, crds, skip string) error {
	kinds, err := load(crds)
	if err != nil {
		return err
	}
	if err := apiextensionsv1.AddToScheme(scheme.Scheme); err != nil {
		return err
	}
	objects, err := documents(from)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("there is nothing to judge")
	}
	judged, faults := 0, 0
	for _, object := range objects {
		meta := unstructured.Unstructured{Object: object}
		if skip != "" && meta.GroupVersionKind().Group == skip {
			continue
		}
		judged++
		for _, fault := range judge(kinds, &meta) {
			faults++
			fmt.Fprintf(os.Stderr, "%s/%s: %s\n", meta.GetKind(), meta.GetName(), fault)
		}
	}
	if faults > 0 {
		return fmt.Errorf("%d faults in %d objects", faults, judged)
	}
	fmt.Println(judged)
	return nil
}

// judge yields what is wrong with one object.
func judge(kinds map[schema.GroupVersionKind]*kind, object *unstructured.Unstructured) []string {
	if own, ok := kinds[object.GroupVersionKind()]; ok {
		return own.judge(object)
	}
	text, err := json.Marshal(object.Object)
	if err != nil {
		return []string{err.Error()}
	}
	codecs := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict)
	if _, _, err := codecs.UniversalDeserializer().Decode(text, nil, nil); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func (k *kind) judge(object *unstructured.Unstructured) []string {
	var faults []string
	options := structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	for _, path := range pruning.PruneWithOptions(object.DeepCopy().Object, k.structural, true, options) {
		faults = append(faults, fmt.Sprintf("unknown field %q", path))
	}
	for _, fault := range validation.ValidateCustomResource(nil, object.Object, k.openapi) {
		faults = append(faults, fault.Error())
	}
	broken, _ := k.rules.Validate(context.Background(), nil, k.structural, object.Object, nil, celconfig.RuntimeCELCostBudget)
	for _, fault := range broken {
		faults = append(faults, fault.Error())
	}
	return faults
}

// load reads the definitions of a folder.
func load(folder string) (map[schema.GroupVersionKind]*kind, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("--crds %q: no definition there (%v)", folder, err)
	}
	kinds := map[schema.GroupVersionKind]*kind{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &definition); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, version := range definition.Spec.Versions {
			own, err := compile(version.Schema.OpenAPIV3Schema)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			kinds[schema.GroupVersionKind{Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}] = own
		}
	}
	return kinds, nil
}

func compile(written *apiextensionsv1.JSONSchemaProps) (*kind, error) {
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(written, &internal, nil); err != nil {
		return nil, err
	}
	shape, err := structural.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	openapi, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, err
	}
	return &kind{structural: shape, openapi: openapi, rules: cel.NewValidator(shape, true, celconfig.PerCallLimit)}, nil
}
