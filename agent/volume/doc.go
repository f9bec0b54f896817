// Package volume keeps the volumes of one node: it makes, mounts, fills and gives up the folders that containers mount.
//
// Words:
//
//   - A place is where a volume is on the host. Containers get it by a bind mount of their own, so a place can go while
//     they run.
//   - A local volume is a folder of ours, _data, beside its record, volume.json. It belongs to a task and goes with it,
//     or is shared and stays until somebody deletes it.
//   - A mounted volume is one whose content is elsewhere: a docker volume with options (a tmpfs, a folder of the host, an
//     NFS export), or an EFS file system that the operator has mapped to an export or a folder.
//   - A volume is filled by half while its mark, filling, is there and nobody is filling it. It is beside the record, in
//     the data folder, also for what is mounted.
//   - A user is a task that has a shared volume. The last one to go unmounts it.
//
// # Where things are
//
//	DATA/tasks/TASK/volumes/VOLUME/   a task's local volume; the Runtime deletes the folder with the task
//	DATA/volumes/VOLUME/              a shared volume: volume.json, _data, filling, users/TASK
//	RUN/v/t/TASK/VOLUME/              what is mounted for a task: m is mounted on, done says that the mount is whole
//	RUN/v/s/VOLUME/                   what is mounted of a shared volume, once for all its users
//
// # What a crash and a cleanup can do
//
// Nothing is mounted below the data folder, where whole folders are deleted. Below RUN nothing is deleted but empty
// folders and marks, one by one, and what is in a task's tmpfs that was filled by half: what is still mounted, against all expectation, makes that fail and is not reached
// through. A mount is private, so that to unmount it unmounts nothing at its source, and lazy, so that a server which
// does not answer holds nobody up.
//
// A mount counts when its mark is written, and is made again otherwise. After a kill at any point the next Provide finds
// the mark, or unmounts what there is; it never mounts twice. A user's mark is written before the mount is made and
// removed after it is gone. A task's ID is recorded by the Runtime before the first Provide and forgotten after Release.
package volume
