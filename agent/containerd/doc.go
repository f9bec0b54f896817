// Package containerd runs containers: it is the agent's Runtime, on a containerd that lives inside this process.
//
// Words:
//
//   - The engine is containerd's own server, as a library, with the plugins that plugins.go names and no other. It
//     listens on a socket in the runtime folder, so that ctr can look: ctr -a <data folder>/containerd.sock -n havn.
//   - The shim is a small process per task that outlives us. It holds the output and the exit status of the task's
//     containers until they are removed. So a kill -9 of this process leaves containers running, and the next one
//     adopts them by connecting to their shims.
//   - A container's ID is the SHA-256 of its task's ARN and its name. Whoever performs an effect again finds
//     what was made before without having to remember anything.
//   - The data folder survives a reboot; the runtime folder, under /run, does not.
//
// # What keeps what alive
//
// containerd collects garbage, so everything needs a holder. An image's name holds its content and its unpacked
// layers. A container's record holds its own writable layer, and it is written before that layer is made; so at no
// point is there a layer that nobody holds, and no lease is needed. A pull is held by a lease until the image has
// its name.
//
// # What happens in which effect
//
//	Connect:    volumes made and mounted, environment files looked at -> network.Connect for each container
//	Pull:       resolve, fetch, unpack, name the image
//	Create:     RECORD -> writable layer -> folder with hosts, hostname, resolv.conf -> volumes filled -> shim and runc create
//	Start:      mark as started -> runc start
//	Wait:       ask the shim, which answers when the process ends
//	Ship:       what the container prints, to its log's destination
//	Drain:      the rest of it
//	Remove:     shim and cgroup -> RECORD (the layer goes with it) -> folder
//	Disconnect: volumes unmounted -> network.Disconnect for each container
//	Discard:    logs, volumes and what else is left of the task
//
// A command that does not exist is found out by runc create, but is told by Start: ECS words it so. Therefore
// Create lets that step fail in silence, and Start does it again and reports.
//
// The shim writes a container's output to files, and rotates them: see havn/agent/logging.
package containerd
