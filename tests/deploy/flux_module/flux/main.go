// One reconciliation as Flux's kustomize-controller makes it, with its package ssa: what would change, and then
// the apply. Reads manifests, and prints what was found as JSON.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
)

type found struct {
	// What differs in the cluster before the apply, by the way to find it out.
	Differences map[string][]string `json:"differences"`
	// What the apply did to each object.
	Applied map[string]string `json:"applied"`
}

func main() {
	ctx := context.Background()
	objects, err := utils.ReadObjects(os.Stdin)
	exitOn(err)
	exitOn(normalize.UnstructuredList(objects))
	reached, err := client.New(ctrl.GetConfigOrDie(), client.Options{})
	exitOn(err)
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	poller := polling.NewStatusPoller(reached, reached.RESTMapper(), polling.Options{})
	manager := ssa.NewResourceManager(reached, poller, owner)
	manager.SetOwnerLabels(objects, "vanadium", "flux-system")

	result := found{map[string][]string{"server-side": {}}, map[string]string{}}
	for _, object := range objects {
		// The diff completes the object that it gets.
		entry, _, _, err := manager.Diff(ctx, object.DeepCopy(), ssa.DiffOptions{})
		if err != nil { // such as an object whose namespace is not there yet
			result.Differences["server-side"] = append(result.Differences["server-side"], err.Error())
		} else if entry.Action != ssa.UnchangedAction {
			result.Differences["server-side"] = append(result.Differences["server-side"], entry.Subject)
		}
	}
	changes, err := manager.ApplyAllStaged(ctx, objects, options())
	exitOn(err)
	for _, entry := range changes.Entries {
		result.Applied[entry.Subject] = string(entry.Action)
	}
	exitOn(json.NewEncoder(os.Stdout).Encode(result))
}

// The controller's own: it takes over what kubectl has applied before.
func options() ssa.ApplyOptions {
	made := ssa.DefaultApplyOptions()
	managers := []ssa.FieldManager{}
	for _, name := range []string{"kubectl", "before-first-apply"} {
		for _, operation := range []metav1.ManagedFieldsOperationType{
			metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate,
		} {
			managers = append(managers, ssa.FieldManager{Name: name, OperationType: operation})
		}
	}
	made.Cleanup = ssa.ApplyCleanupOptions{
		Annotations:   []string{"kubectl.kubernetes.io/last-applied-configuration"},
		FieldManagers: managers,
	}
	return made
}

func exitOn(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
