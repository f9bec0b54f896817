package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// journal keeps on disk what a new process must know: a record for each task, and who the node is to the
// server. One write is one transaction, and is on disk when it returns.
type journal struct{ db *bbolt.DB }

var (
	tasksBucket = []byte("tasks") // ARN -> Record
	nodeBucket  = []byte("node")  // the keys below
)

const (
	keyInstance = "container-instance-arn"
	keyCluster  = "cluster" // as configured when the instance was registered
	keyTimeline = "timeline"
)

// openJournal opens the journal, or begins one. A journal that cannot be read is moved aside: the node
// then knows of no task, and removes what the Runtime still holds. That is never fatal; it is a journal
// that another process has open that is.
func openJournal(path string, log *slog.Logger) (*journal, []Record, error) {
	j, records, err := tryJournal(path)
	if err == nil {
		return j, records, nil
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, nil, fmt.Errorf("cannot open journal %s: another agent uses it", path)
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("cannot open journal: %w", err)
	}
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Rename(path, aside); err != nil {
		return nil, nil, fmt.Errorf("cannot move damaged journal aside: %w", err)
	}
	log.Error("the journal cannot be read: it was moved aside and a new one begun; tasks that run here are not remembered and will be stopped",
		"journal", path, "aside", aside, "error", err)
	if j, records, err = tryJournal(path); err != nil {
		return nil, nil, fmt.Errorf("cannot begin journal: %w", err)
	}
	return j, records, nil
}

func tryJournal(path string) (j *journal, records []Record, err error) {
	var db *bbolt.DB
	defer func() {
		if p := recover(); p != nil { // bbolt panics on some damage
			err = fmt.Errorf("damaged: %v", p)
		}
		if err != nil && db != nil {
			_ = db.Close()
		}
	}()
	// The list of free pages is kept on disk: without it bbolt reads all pages when it opens, in a goroutine
	// whose panic nobody can recover.
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(nodeBucket); err != nil {
			return err
		}
		_, err := tx.CreateBucketIfNotExists(tasksBucket)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	j = &journal{db}
	records, err = j.records()
	return j, records, err
}

func (j *journal) records() (records []Record, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(tasksBucket).ForEach(func(arn, value []byte) error {
			var r Record
			if err := json.Unmarshal(value, &r); err != nil {
				return fmt.Errorf("cannot decode record of %s: %w", arn, err)
			}
			if r.Task.ARN != string(arn) {
				return fmt.Errorf("record of %s is about %q", arn, r.Task.ARN)
			}
			records = append(records, r)
			return nil
		})
	})
	return records, err
}

// write puts down what a plan says must be remembered.
func (j *journal) write(p *Plan) error {
	if len(p.Save) == 0 && len(p.Forget) == 0 && p.Timeline == 0 {
		return nil
	}
	return j.update(func(tx *bbolt.Tx) error {
		tasks := tx.Bucket(tasksBucket)
		for _, r := range p.Save {
			value, err := json.Marshal(r)
			if err != nil {
				return fmt.Errorf("cannot encode record of %s: %w", r.Task.ARN, err)
			}
			if err := tasks.Put([]byte(r.Task.ARN), value); err != nil {
				return err
			}
		}
		for _, arn := range p.Forget {
			if err := tasks.Delete([]byte(arn)); err != nil {
				return err
			}
		}
		if p.Timeline == 0 {
			return nil
		}
		return tx.Bucket(nodeBucket).Put([]byte(keyTimeline), binary.BigEndian.AppendUint64(nil, uint64(p.Timeline)))
	})
}

func (j *journal) timeline() (n int64) {
	if v := j.get(keyTimeline); len(v) == 8 {
		n = int64(binary.BigEndian.Uint64(v))
	}
	return n
}

func (j *journal) get(key string) (value []byte) {
	_ = j.db.View(func(tx *bbolt.Tx) error {
		value = bytes.Clone(tx.Bucket(nodeBucket).Get([]byte(key)))
		return nil
	})
	return value
}

// register remembers who the node is to the server. Manifests of another instance are counted anew.
func (j *journal) register(cluster, instance string) error {
	return j.update(func(tx *bbolt.Tx) error {
		node := tx.Bucket(nodeBucket)
		if string(node.Get([]byte(keyInstance))) == instance && string(node.Get([]byte(keyCluster))) == cluster {
			return nil
		}
		return errors.Join(node.Put([]byte(keyCluster), []byte(cluster)), node.Put([]byte(keyInstance), []byte(instance)),
			node.Delete([]byte(keyTimeline)))
	})
}

func (j *journal) update(f func(*bbolt.Tx) error) error {
	if err := j.db.Update(f); err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.db.Close() }
