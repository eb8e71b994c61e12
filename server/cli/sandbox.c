/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock: kernel documentation, userspace-api/landlock.rst. The calls that are refused are those that systemd.exec(5)
 * names in @clock, @debug, @keyring, @module, @mount, @obsolete, @raw-io, @reboot and @swap, and what lets a process
 * into other namespaces or past the checks of system calls. */
#include "server/cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LANDLOCK_ABI_REFER    2 /* before it, nothing could be renamed from one folder to another */
#define LANDLOCK_ABI_TRUNCATE 3
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define READ_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_FILES                                                                                                    \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |              \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                    \
	 LANDLOCK_ACCESS_FS_REFER)
/* Handled, and given to nobody. */
#define NEVER                                                                                                          \
	(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                 \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)

/* What the C library, the resolver and TLS read: names and certificates under /etc and where its links lead, character
 * sets and libraries, what the process learns of itself. */
static const char *const system_readable[] = {
	"/etc",
	"/usr",
	"/lib",
	"/lib64",
	"/run/systemd/resolve",
	"/run/resolvconf",
	"/run/NetworkManager",
	"/var/lib/ca-certificates",
	"/proc/self",
	"/sys/devices/system/cpu",
	"/dev/urandom",
	"/dev/random",
	"/dev/null",
};

/* Files. */

static int landlock_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* A path that is not there is nothing to be allowed. */
static int allow_below(int rules, const char *path, uint64_t access, struct err *err)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access};
	struct stat found;
	int code = 0;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return 0;
	/* Rights over what lies in a folder are none that a file can have. */
	if (fstat(rule.parent_fd, &found) == 0 && !S_ISDIR(found.st_mode))
		rule.allowed_access &=
			LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		code = err_set_errno(err, ERR_IO, errno, "cannot allow %s in the sandbox", path);
	close(rule.parent_fd);
	return code;
}

static int allow_all(int rules, const struct sandbox_options *options, uint64_t write, struct err *err)
{
	size_t system_count = sizeof(system_readable) / sizeof(system_readable[0]);
	int code = allow_below(rules, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE, err);

	for (size_t i = 0; code == 0 && i < options->writable_count; i++)
		code = allow_below(rules, options->writable[i], READ_FILES | write, err);
	for (size_t i = 0; code == 0 && i < options->readable_count; i++)
		code = allow_below(rules, options->readable[i], READ_FILES, err);
	for (size_t i = 0; code == 0 && i < system_count; i++)
		code = allow_below(rules, system_readable[i], READ_FILES, err);
	return code;
}

static int restrict_files(const struct sandbox_options *options, struct err *err)
{
	int abi = landlock_abi(), rules, code;
	uint64_t write = WRITE_FILES | (abi >= LANDLOCK_ABI_TRUNCATE ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
	struct landlock_ruleset_attr handled = {.handled_access_fs =
							READ_FILES | LANDLOCK_ACCESS_FS_EXECUTE | write | NEVER};

	if (abi < LANDLOCK_ABI_REFER)
		return err_set(err, ERR_UNSUPPORTED, "this kernel has no Landlock, or one too old");
	rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled.handled_access_fs), 0);
	if (rules < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot make a sandbox");
	code = allow_all(rules, options, write, err);
	if (code == 0 && syscall(SYS_landlock_restrict_self, rules, 0))
		code = err_set_errno(err, ERR_IO, errno, "cannot enter the sandbox");
	close(rules);
	return code;
}

/* System calls. */

static const int refused_calls[] = {
	/* other processes */
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(lookup_dcookie),
	SCMP_SYS(process_madvise),
	/* mounts and namespaces */
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(open_tree),
	SCMP_SYS(move_mount),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(quotactl),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(name_to_handle_at),
	/* the kernel, the clock, the machine */
	SCMP_SYS(bpf),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(acct),
	SCMP_SYS(syslog),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname),
	SCMP_SYS(vhangup),
	SCMP_SYS(ioperm),
	SCMP_SYS(iopl),
	SCMP_SYS(personality),
	SCMP_SYS(modify_ldt),
	/* keyrings, and what has been a way around checks before */
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(vmsplice),
	SCMP_SYS(nfsservctl),
	SCMP_SYS(uselib),
	SCMP_SYS(remap_file_pages),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
};

static const uint64_t namespaces[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWNET,   CLONE_NEWPID,
				      CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};

static bool leak_check_traces(void)
{
#if defined(__SANITIZE_ADDRESS__)
	return true;
#elif defined(__has_feature)
	return __has_feature(address_sanitizer);
#else
	return false;
#endif
}

static int add_refusals(scmp_filter_ctx filter, const struct sandbox_options *options)
{
	int failed = 0;

	for (size_t i = 0; failed == 0 && i < sizeof(refused_calls) / sizeof(refused_calls[0]); i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused_calls[i], 0);
	/* What clone3() is asked for cannot be seen by a filter; without it the C library calls clone(). */
	if (failed == 0)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; failed == 0 && i < sizeof(namespaces) / sizeof(namespaces[0]); i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
					  SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
	/* The address sanitizer's search for leaks traces its own threads. */
	if (failed == 0 && !leak_check_traces())
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ptrace), 0);
	if (failed == 0 && !options->runs_programs) {
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(execve), 0);
		if (failed == 0)
			failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(execveat), 0);
	}
	return failed;
}

static int restrict_calls(const struct sandbox_options *options, struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int failed = filter ? 0 : -ENOMEM;

	if (failed == 0)
		failed = add_refusals(filter, options);
	if (failed == 0)
		failed = seccomp_load(filter);
	seccomp_release(filter);
	return failed ? err_set_errno(err, ERR_IO, -failed, "cannot restrict system calls") : 0;
}

int sandbox_enter(const struct sandbox_options *options, struct err *err)
{
	int files;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set_errno(err, ERR_IO, errno, "cannot give up new privileges");
	/* What is in memory is in nobody's core. */
	if (!leak_check_traces() && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return err_set_errno(err, ERR_IO, errno, "cannot give up core dumps");
	files = options->runs_programs ? 0 : restrict_files(options, err);
	if (files && files != ERR_UNSUPPORTED)
		return files;
	if (restrict_calls(options, err))
		return ERR_IO;
	return files;
}
