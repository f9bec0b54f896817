package containerd

import (
	"errors"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// A process that is killed while it makes a layer can leave the layer's folder without a record. The snapshotter would
// give the next layer the same number, and fail because the folder is there. It can clear away such folders, but nobody
// asks it to and no service passes it on; so this plugin of ours does, once, while the engine starts.
func init() {
	registry.Register(&plugin.Registration{
		Type:     plugins.InternalPlugin,
		ID:       "havn-sweep",
		Requires: []plugin.Type{plugins.SnapshotPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			instance, err := ic.GetByID(plugins.SnapshotPlugin, snapshotter)
			if err != nil {
				return nil, err
			}
			cleaner, ok := instance.(snapshots.Cleaner)
			if !ok {
				return nil, errors.New("the snapshotter cannot clean up")
			}
			if err := cleaner.Cleanup(ic.Context); err != nil && !errdefs.IsNotFound(err) { // there was no layer ever
				return nil, err
			}
			return nil, nil
		},
	})
}
