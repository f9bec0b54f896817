package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"sync"

	"golang.org/x/time/rate"

	"havn/agent"
)

// IDs gives containers their ids, and finds containers by them.
type IDs struct {
	name   string // of this Havn: eight hex digits
	secret []byte

	learning chan struct{} // who learns puts one in
	pace     *rate.Limiter // of learning

	mu            sync.Mutex
	known         map[string]container // by id
	begun, learnt int                  // which time of learning began last, and which succeeded last
}

// container names one container of one task.
type container struct{ task, name string }

var (
	havnName = regexp.MustCompile(`^[0-9a-f]{8}$`)
	idForm   = regexp.MustCompile(`^([0-9a-f]{8})-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`)
)

const secretBytes = 32

// OpenIDs reads the node's secret from a file, and makes it if there is none. name is the Havn's, of eight hex digits.
func OpenIDs(file, name string) (*IDs, error) {
	if !havnName.MatchString(name) {
		return nil, fmt.Errorf("the name %q is not of eight hex digits", name)
	}
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret = make([]byte, secretBytes)
		rand.Read(secret)
		if err = os.WriteFile(file+".new", secret, 0o600); err == nil {
			err = os.Rename(file+".new", file)
		}
	}
	if err == nil && len(secret) != secretBytes {
		err = fmt.Errorf("%s has %d bytes, not %d", file, len(secret), secretBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the secret of the metadata endpoint: %w", err)
	}
	return &IDs{name: name, secret: secret, known: map[string]container{}, learning: make(chan struct{}, 1),
		pace: rate.NewLimiter(steadyRate, burst)}, nil
}

// Of returns the id of a container: a UUID of which 90 bits follow from the secret.
func (i *IDs) Of(taskARN, name string) string {
	mac := hmac.New(sha256.New, i.secret)
	fmt.Fprintf(mac, "container\x00%s\x00%s", taskARN, name)
	h := hex.EncodeToString(mac.Sum(nil))
	return fmt.Sprintf("%s-%s-4%s-8%s-%s", i.name, h[:4], h[4:7], h[7:10], h[10:22])
}

// sibling returns the name of the Havn that gave an id, if it is another one.
func (i *IDs) sibling(id string) (name string, another bool) {
	m := idForm.FindStringSubmatch(id)
	if m == nil || m[1] == i.name {
		return "", false
	}
	return m[1], true
}

// find returns the container that an id stands for, with the record of its task.
func (i *IDs) find(ctx context.Context, tasks Tasks, id string) (agent.Record, string, error) {
	c, err := i.container(ctx, tasks, id)
	if err != nil {
		return agent.Record{}, "", err
	}
	r, known, err := tasks.Task(ctx, c.task)
	if err != nil {
		return agent.Record{}, "", err
	}
	if !known {
		return agent.Record{}, "", errUnknown
	}
	return r, c.name, nil
}

// given reports whether a container has the id. While the agent cannot be asked, those have one that are known already.
func (i *IDs) given(ctx context.Context, tasks Tasks, id string) bool {
	_, err := i.container(ctx, tasks, id)
	return err == nil
}

func (i *IDs) container(ctx context.Context, tasks Tasks, id string) (container, error) {
	if m := idForm.FindStringSubmatch(id); m == nil || m[1] != i.name {
		return container{}, errUnknown
	}
	i.mu.Lock()
	c, ok := i.known[id]
	begun := i.begun
	i.mu.Unlock()
	if ok {
		return c, nil
	}
	if err := i.learn(ctx, tasks, begun); err != nil {
		return container{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if c, ok = i.known[id]; !ok {
		return container{}, errUnknown
	}
	return c, nil
}

// learn takes in the tasks that are new since it was called last, and forgets those that are gone. Many who call it at
// once are served by one question to the agent, if it began after they came, which is when begun had begun. So those who
// guess ids cannot keep the agent busy, and a container that is new waits for a moment among them but is not refused.
func (i *IDs) learn(ctx context.Context, tasks Tasks, begun int) error {
	select {
	case i.learning <- struct{}{}:
		defer func() { <-i.learning }()
	case <-ctx.Done():
		return ctx.Err()
	}
	i.mu.Lock()
	served := i.learnt > begun
	i.mu.Unlock()
	if served {
		return nil
	}
	if err := i.pace.Wait(ctx); err != nil {
		return err
	}
	i.mu.Lock()
	i.begun++
	this := i.begun
	i.mu.Unlock()
	all, err := tasks.Tasks(ctx)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.learnt = this
	old := map[container]string{}
	for id, c := range i.known {
		old[c] = id
	}
	i.known = make(map[string]container, len(old))
	for _, r := range all {
		for _, doc := range r.Task.Containers {
			c := container{r.Task.ARN, doc.Name}
			id, ok := old[c]
			if !ok {
				id = i.Of(c.task, c.name)
			}
			i.known[id] = c
		}
	}
	return nil
}

// errUnknown is what a stranger is told, and who has a stranger's id.
var errUnknown = errors.New("no container has this id")
