package ecs

import (
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// capabilities are the Linux capabilities that linuxParameters may name.
var capabilities = strings.Fields(`ALL AUDIT_CONTROL AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH
	FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
	NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE
	SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM`)

// mountOptions are what a tmpfs may be mounted with. API Reference, "Tmpfs".
var mountOptions = strings.Fields(`defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand
	atime noatime diratime nodiratime bind rbind unbindable runbindable private rprivate shared rshared slave rslave
	relatime norelatime strictatime nostrictatime mode uid gid nr_inodes nr_blocks mpol`)

// ipcControls are the parameters of the kernel that belong to an IPC namespace; those of a network namespace begin with
// "net.". API Reference, "SystemControl".
var ipcControls = strings.Fields(`kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni
	kernel.shm_rmid_forced`)

func checkLinux(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	l := c.LinuxParameters
	if l == nil {
		return nil
	}
	if windows(d) {
		return clientError("linuxParameters is not supported on Windows.")
	}
	if l.Capabilities != nil {
		for _, name := range slices.Concat(l.Capabilities.Add, l.Capabilities.Drop) {
			if !slices.Contains(capabilities, name) {
				return clientError("Invalid Linux capability '%s' for container '%s'.", name, deref(c.Name))
			}
		}
	}
	for i, t := range l.Tmpfs {
		at := deref(t.ContainerPath)
		if !strings.HasPrefix(at, "/") || hasNUL(at) || path.Clean(at) == "/" || t.Size <= 0 {
			return badSetting("tmpfs", c)
		}
		if slices.ContainsFunc(l.Tmpfs[:i], func(o types.Tmpfs) bool { return path.Clean(deref(o.ContainerPath)) == path.Clean(at) }) {
			return clientError("Duplicate tmpfs path '%s' in container '%s'.", at, deref(c.Name))
		}
		for _, option := range t.MountOptions {
			if name, _, _ := strings.Cut(option, "="); !slices.Contains(mountOptions, name) || strings.ContainsRune(option, ',') {
				return clientError("Invalid tmpfs mount option '%s' for container '%s'.", option, deref(c.Name))
			}
		}
	}
	for _, d := range l.Devices {
		for _, at := range []string{deref(d.HostPath), deref(d.ContainerPath)} {
			if at != "" && !strings.HasPrefix(at, "/") || hasNUL(at) {
				return badSetting("devices", c)
			}
		}
		// A device is below /dev, by its plain name: the nodes make all devices that they find there.
		if at := deref(d.HostPath); path.Clean(at) != at || !strings.HasPrefix(at, "/dev/") {
			return badSetting("devices", c)
		}
	}
	switch {
	case l.Swappiness != nil && (*l.Swappiness < 0 || *l.Swappiness > 100):
		return badSetting("swappiness", c)
	case deref(l.MaxSwap) < 0:
		return badSetting("maxSwap", c)
	case deref(l.SharedMemorySize) < 0:
		return badSetting("sharedMemorySize", c)
	case deref(l.SharedMemorySize) > 0 && (d.IpcMode == types.IpcModeHost || d.IpcMode == types.IpcModeNone):
		// /dev/shm is then the machine's, or there is none.
		return clientError("Conflicting options for container '%s': sharedMemorySize is not supported when ipcMode=%s.", deref(c.Name), d.IpcMode)
	}
	return nil
}

// checkSystemControls checks that each parameter of the kernel belongs to a namespace, and that the container has one to
// itself that it can be set in.
func checkSystemControls(d *types.TaskDefinition, c *types.ContainerDefinition) error {
	for i, sc := range c.SystemControls {
		name := deref(sc.Namespace)
		ipc := slices.Contains(ipcControls, name) || strings.HasPrefix(name, "fs.mqueue.")
		switch {
		case name == "" || deref(sc.Value) == "" || hasNUL(*sc.Value) || strings.ContainsAny(name, "/\x00"):
			return badSetting("systemControls", c)
		case !ipc && !strings.HasPrefix(name, "net."):
			return clientError("Invalid 'systemControls' setting for container '%s'. '%s' is not a namespaced kernel parameter.", deref(c.Name), name)
		case ipc && d.IpcMode == types.IpcModeHost:
			return clientError("IPC namespace related systemControls are not supported when ipcMode=host.")
		case !ipc && d.NetworkMode == types.NetworkModeHost:
			return clientError("Network namespace related systemControls are not supported when networkMode=host.")
		case slices.ContainsFunc(c.SystemControls[:i], func(o types.SystemControl) bool { return deref(o.Namespace) == name }):
			return clientError("Duplicate systemControls namespace '%s' in container '%s'.", name, deref(c.Name))
		}
	}
	return nil
}

// checkSecurityOptions lets pass what ECS documents. API Reference, "ContainerDefinition".
func checkSecurityOptions(_ *types.TaskDefinition, c *types.ContainerDefinition) error {
	for _, option := range c.DockerSecurityOptions {
		name, value, _ := strings.Cut(option, ":")
		switch {
		case option == "no-new-privileges", option == "no-new-privileges:true", option == "no-new-privileges:false":
		case (name == "apparmor" || name == "label" || name == "credentialspec") && value != "" && !hasNUL(value):
		default:
			return clientError("Invalid 'dockerSecurityOptions' setting for container '%s'. '%s' is not no-new-privileges, "+
				"apparmor:PROFILE, label:VALUE or credentialspec:FILE.", deref(c.Name), option)
		}
	}
	return nil
}
