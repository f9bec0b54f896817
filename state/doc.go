// Package state remembers every durable fact of Havn, and nothing else does.
//
// Its words:
//
//   - record: one fact, a plain Go struct with a key. record.go lists them all.
//   - table: the records of one type, with their indexes. Declared once, beside the type.
//   - revision: where the log stands. It only grows; every commit has one of its own.
//   - commit: what one Update changed, all of it at one revision.
//   - log: where the bytes are. It accepts a proposal if the records it depends on have not changed since
//     they were read, and gives back every commit in order. There are two: Memory here, and etcd.
//   - image: all records, decoded and indexed in memory. It is never modified: a commit makes a new image
//     that shares what did not change. A reader holds one image and no lock.
//   - store: a log with the image that follows it.
//
// How a write travels:
//
//	Update: f reads and writes on a private copy of the image
//	   |  proposal: versions of what f read by key or wrote, new bytes
//	   v
//	Log.Append --- out of date: run f again on a fresh image
//	   |  accepted at revision r                (answer lost: see Store.settle)
//	   v
//	Log.Replay -> decode -> new image at r -> Update returns, Watch yields the commit
//
// # What a transaction guards
//
// A transaction guards each record that it read with Get, found or not, and each record that it wrote: if
// one of them changed meanwhile, nothing is written and the function runs again. It does not guard what it
// saw through By, All and Count: a record that someone else adds to an index meanwhile goes unnoticed. A
// decision that rests on a set must therefore meet its rivals in a record. Two placements onto one node
// both write the node's remaining resources, so they cannot both commit.
//
// # Records on disk
//
// A record is stored under table/key as one JSON object, with the version of its format first:
//
//	cluster/arn:aws:ecs:...  {"v":1,"ARN":"arn:aws:ecs:...","Name":"demo",...}
//
// A member that is null is left out. A record of an older version is brought up to date when it is read
// (Table.Upgrade) and stored anew when it is next written. A record of a newer version, one that is not
// JSON of its type, or one of an unknown table stops the store with an error that names its key: writing it
// back would lose what we do not understand. For the same reason every change of a record's members, an
// addition too, makes a new version; testdata/formats.txt holds each version's members, and a test compares.
package state
