// One synchronization with Argo CD's engine, with pruning: what it finds out of sync by each of its ways to
// compare, and then the sync. Reads manifests, and prints what was found as JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/engine"
	"github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
)

const (
	manager = "argocd-controller"
	// By which Argo CD knows what it made.
	tracking = "argocd.argoproj.io/tracking-id"
)

type found struct {
	// What differs in the cluster before the sync, by the way to find it out.
	Differences map[string][]string `json:"differences"`
	// What the sync did to each object.
	Applied map[string]string `json:"applied"`
}

func main() {
	serverSide := flag.Bool("server-side", false, "apply as with the option ServerSideApply=true")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	exitOn(err)
	config.QPS, config.Burst = 100, 200
	quiet := logr.Discard()
	clusterCache := cache.NewClusterCache(config, cache.SetLogr(quiet),
		cache.SetPopulateResourceInfoHandler(func(one *unstructured.Unstructured, _ bool) (any, bool) {
			isTracked := one.GetAnnotations()[tracking] != ""
			return isTracked, isTracked
		}))
	made := engine.NewEngine(config, clusterCache, engine.WithLogr(quiet))
	stop, err := made.Run()
	exitOn(err)
	defer stop()
	targets := read(clusterCache)
	isManaged := func(one *cache.Resource) bool { return one.Info == any(true) }

	result := found{differences(config, clusterCache, targets, isManaged), map[string]string{}}
	synced, err := made.Sync(context.Background(), targets, isManaged, "revision", "vanadium-system",
		sync.WithPrune(true), sync.WithLogr(quiet), sync.WithServerSideApply(*serverSide),
		sync.WithServerSideApplyManager(manager))
	for _, one := range synced {
		result.Applied[one.ResourceKey.String()] = string(one.Status) + " " + one.Message
	}
	exitOn(json.NewEncoder(os.Stdout).Encode(result))
	exitOn(err)
}

func read(scopes kube.ResourceInfoProvider) []*unstructured.Unstructured {
	text, err := io.ReadAll(os.Stdin)
	exitOn(err)
	targets, err := kube.SplitYAML(bytes.TrimSpace(text))
	exitOn(err)
	for _, one := range targets {
		// As Argo CD's controller does: kustomize does not know of each kind that it has no namespace.
		if !kube.IsNamespacedOrUnknown(scopes, one.GroupVersionKind().GroupKind()) {
			one.SetNamespace("")
		}
		annotations := one.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[tracking] = "vanadium:" + named(one)
		one.SetAnnotations(annotations)
	}
	return targets
}

func named(one *unstructured.Unstructured) string {
	key := kube.GetResourceKey(one)
	return key.String()
}

func differences(
	config *rest.Config, clusterCache cache.ClusterCache, targets []*unstructured.Unstructured,
	isManaged func(*cache.Resource) bool,
) map[string][]string {
	live, err := clusterCache.GetManagedLiveObjs(targets, isManaged)
	exitOn(err)
	pairs := sync.Reconcile(targets, live, "vanadium-system", clusterCache)
	noRecord := func(string) (kube.CleanupFunc, error) { return func() {}, nil }
	operations, cleanup, err := kube.ManageServerSideDiffDryRuns(
		config, clusterCache.GetOpenAPISchema(), tracing.NopTracer{}, logr.Discard(), noRecord)
	exitOn(err)
	defer cleanup()
	parser := clusterCache.GetGVKParser()
	ways := map[string][]diff.Option{
		"by the last applied": {},
		"by structure":        {diff.WithStructuredMergeDiff(true)},
		"server-side": {
			diff.WithServerSideDiff(true),
			diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(operations)),
		},
	}
	result := map[string][]string{}
	for way, options := range ways {
		options = append(options, diff.WithGVKParser(parser), diff.WithManager(manager), diff.WithLogr(logr.Discard()))
		result[way] = []string{}
		for position, target := range pairs.Target {
			if pairs.Live[position] == nil {
				result[way] = append(result[way], "absent: "+named(target))
				continue
			}
			if target == nil {
				result[way] = append(result[way], "to prune: "+named(pairs.Live[position]))
				continue
			}
			one, err := diff.Diff(target, pairs.Live[position], options...)
			exitOn(err)
			if one.Modified {
				shown := named(target) + "\n" + string(one.NormalizedLive) + "\n" + string(one.PredictedLive)
				result[way] = append(result[way], shown)
			}
		}
	}
	return result
}

func exitOn(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
