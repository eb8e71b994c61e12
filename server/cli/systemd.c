/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/systemd.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FIRST_PASSED_FD 3 /* SD_LISTEN_FDS_START */

void systemd_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* a name in the abstract namespace */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

void systemd_notify_reloading(void)
{
	char state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_us());
	systemd_notify(state);
}

/* A number in the environment that is meant for this process; 0 when there is none. */
static uint64_t number_for_us(const char *name, const char *pid_name, uint64_t max)
{
	const char *text = getenv(name), *pid = getenv(pid_name);
	unsigned long long value;
	char *end;

	if (!text || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	return errno || *end || end == text || value > max ? 0 : value;
}

uint64_t systemd_watchdog_ms(void)
{
	return number_for_us("WATCHDOG_USEC", "WATCHDOG_PID", UINT64_C(86400) * 1000000) / 2000;
}

size_t systemd_listeners(int *fds, size_t max)
{
	/* Unlike the watchdog's, this number always comes with whom it is for. */
	size_t count = getenv("LISTEN_PID") ? number_for_us("LISTEN_FDS", "LISTEN_PID", 1024) : 0;

	if (count > max)
		count = max;
	for (size_t i = 0; i < count; i++) {
		fds[i] = FIRST_PASSED_FD + (int)i;
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
		fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return count;
}
