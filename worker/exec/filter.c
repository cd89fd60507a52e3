/* The filter lies under the namespaces: what would let code reach for the kernel itself, for other processes, for new
 * namespaces or for what no namespace holds (keys, clocks, kernel logs, sockets of odd families) is refused with EPERM, so
 * that programs go on as they do where the call is not allowed. Calls of another architecture kill the process. */
#include "worker/exec/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* By name: a call that this libseccomp or architecture does not know is skipped, for it cannot be made there. */
static const char *const refused[] = {
    /* other processes */
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise",
    /* namespaces, mounts */
    "unshare", "setns", "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at",
    /* keys, which no namespace separates from the worker's user */
    "add_key", "request_key", "keyctl",
    /* the kernel */
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "init_module", "finit_module", "delete_module", "create_module", "kexec_load", "kexec_file_load", "reboot",
    "swapon", "swapoff", "syslog", "acct", "quotactl", "quotactl_fd", "lookup_dcookie", "nfsservctl", "iopl",
    "ioperm", "modify_ldt", "vm86", "vm86old", "personality", "vhangup", "fanotify_init", "uselib", "ustat",
    "sysfs", "_sysctl",
    /* clocks and names */
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime", "sethostname", "setdomainname",
    /* memory of other nodes */
    "mbind", "migrate_pages", "move_pages", "set_mempolicy"};

/* What a private network namespace holds. Others (vsock, raw packets, the kernel's ciphers, Bluetooth …) reach beyond it
 * or are odd doors into the kernel. */
static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

enum {
    NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                 CLONE_NEWNET
};

static int add_refused(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof refused / sizeof *refused; i++) {
        int call = seccomp_syscall_resolve_name(refused[i]);
        if (call != __NR_SCMP_ERROR && call >= 0)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 0);
    }
    return rc;
}

/* clone with a namespace; clone3 hides its flags from a filter, and C libraries do without it. */
static int add_clone(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (int bit = 0; !rc && bit < 32; bit++) {
        scmp_datum_t flag = (scmp_datum_t)NAMESPACES & (1ul << bit);
        if (flag)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    }
    int clone3 = seccomp_syscall_resolve_name("clone3");
    return rc || clone3 < 0 ? rc : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), clone3, 0);
}

/* Families between and above those that are allowed. */
static int add_sockets(scmp_filter_ctx ctx)
{
    int rc = 0, greatest = 0;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        greatest = families[i] > greatest ? families[i] : greatest;
    for (int family = 0; !rc && family < greatest; family++) {
        bool allowed = false;
        for (size_t i = 0; i < sizeof families / sizeof *families; i++)
            allowed |= families[i] == family;
        if (!allowed)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family, 0));
    }
    if (!rc)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_GT, (scmp_datum_t)greatest, 0));
    return rc;
}

/* Putting characters into a terminal's input, as if somebody had typed them. */
static int add_terminals(scmp_filter_ctx ctx)
{
    static const unsigned long requests[] = {TIOCSTI, TIOCLINUX};
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof requests / sizeof *requests; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, requests[i]));
    return rc;
}

int filter_create(int *fd, struct ab_error *err)
{
    static int (*const parts[])(scmp_filter_ctx) = {add_refused, add_clone, add_sockets, add_terminals};
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int rc = ctx ? 0 : -ENOMEM;
    *fd = -1;
    for (size_t i = 0; !rc && i < sizeof parts / sizeof *parts; i++)
        rc = parts[i](ctx);
    if (!rc && (*fd = memfd_create("filter", MFD_CLOEXEC)) < 0)
        rc = -errno;
    if (!rc)
        rc = seccomp_export_bpf(ctx, *fd);
    seccomp_release(ctx);
    if (!rc && lseek(*fd, 0, SEEK_SET))
        rc = -errno;
    if (!rc)
        return 0;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return ab_fail(err, AB_ESYSTEM, "cannot make the sandbox's filter of system calls: %s", strerror(-rc));
}
