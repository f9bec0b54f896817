package network

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// letThrough puts accept rules for our bridge at the head of every chain of the host that drops by policy what is
// forwarded, or what comes in, if they are not there yet. The rules carry our table's name as comment.
func (f *firewall) letThrough() error {
	chains, err := filterChains()
	if err != nil {
		return err
	}
	c := &nftables.Conn{}
	for _, ch := range chains {
		if ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		ours, err := f.rulesIn(ch)
		if err != nil {
			return err
		}
		if len(ours) > 0 {
			continue
		}
		matches := [][]expr.Any{
			iface(expr.MetaKeyIIFNAME, expr.CmpOpEq, f.bridge), iface(expr.MetaKeyOIFNAME, expr.CmpOpEq, f.bridge),
		}
		if *ch.Hooknum == *nftables.ChainHookInput {
			matches = [][]expr.Any{slices.Concat(iface(expr.MetaKeyIIFNAME, expr.CmpOpEq, f.bridge), tcpTo(MetadataPort))}
		}
		for _, match := range matches {
			c.InsertRule(&nftables.Rule{
				Table: ch.Table, Chain: ch,
				Exprs:    append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}),
				UserData: userdata.AppendString(nil, userdata.TypeComment, f.name),
			})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("cannot let the bridge's packets through: %w", err)
	}
	return nil
}

// takeBack removes what letThrough added.
func (f *firewall) takeBack() error {
	chains, err := filterChains()
	if err != nil {
		return err
	}
	c := &nftables.Conn{}
	for _, ch := range chains {
		ours, err := f.rulesIn(ch)
		if err != nil {
			return err
		}
		for _, r := range ours {
			if err := c.DelRule(r); err != nil {
				return err
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("cannot remove rules from the host's chains: %w", err)
	}
	return nil
}

func (f *firewall) rulesIn(ch *nftables.Chain) ([]*nftables.Rule, error) {
	rules, err := (&nftables.Conn{}).GetRules(ch.Table, ch)
	if err != nil {
		return nil, fmt.Errorf("cannot list the rules of chain %s %s: %w", ch.Table.Name, ch.Name, err)
	}
	return slices.DeleteFunc(rules, func(r *nftables.Rule) bool {
		comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		return comment != f.name
	}), nil
}

// filterChains are all base chains that filter IPv4 packets that are forwarded or come in, whoever made them.
func filterChains() ([]*nftables.Chain, error) {
	var all []*nftables.Chain
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := (&nftables.Conn{}).ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("cannot list nftables chains: %w", err)
		}
		for _, ch := range chains {
			if ch.Type == nftables.ChainTypeFilter && ch.Hooknum != nil &&
				(*ch.Hooknum == *nftables.ChainHookForward || *ch.Hooknum == *nftables.ChainHookInput) {
				all = append(all, ch)
			}
		}
	}
	return all, nil
}
