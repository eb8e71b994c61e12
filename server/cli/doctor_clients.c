/* SPDX-License-Identifier: Apache-2.0 */
/* The files that tell clients of larder, as docs/clients.md explains them, for this larder's address and upstreams. */
#include "server/cli/doctor.h"

#include "server/cli/config.h"

#include <string.h>

#define HUB     "docker.io"
#define HUB_URL "https://registry-1.docker.io"

static const char *scheme_of(const struct doctor_place *place)
{
	return place->tls ? "https" : "http";
}

static void print_daemon_json(const struct doctor_place *place, FILE *out)
{
	fprintf(out, "{\n  \"registry-mirrors\": [\"%s://%s\"]\n}\n", scheme_of(place), place->address);
}

static void print_host(const struct doctor_place *place, FILE *out)
{
	fprintf(out, "[host.\"%s://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", scheme_of(place),
		place->address);
	if (place->tls && place->ca)
		fprintf(out, "  ca = \"%s\"\n", place->ca);
}

static void print_hosts_hub(const struct doctor_place *place, FILE *out)
{
	fprintf(out, "server = \"" HUB_URL "\"\n\n");
	print_host(place, out);
}

static void print_registries_conf(const struct doctor_place *place, FILE *out)
{
	for (size_t i = 0; i < place->config->upstream_count; i++) {
		const char *name = place->config->upstreams[i].name;

		fprintf(out, "%s[[registry]]\nlocation = \"%s\"\n\n[[registry.mirror]]\nlocation = \"%s/%s\"\n",
			i ? "\n" : "", name, place->address, name);
		if (!place->tls)
			fprintf(out, "insecure = true\n");
	}
}

static void print_buildkitd_toml(const struct doctor_place *place, FILE *out)
{
	for (size_t i = 0; i < place->config->upstream_count; i++) {
		const char *name = place->config->upstreams[i].name;
		bool standard = strcmp(name, place->config->default_upstream) == 0;

		fprintf(out, "[registry.\"%s\"]\n  mirrors = [\"%s%s%s\"]\n\n", name, place->address,
			standard ? "" : "/", standard ? "" : name);
	}
	fprintf(out, "[registry.\"%s\"]\n", place->address);
	if (!place->tls)
		fprintf(out, "  http = true\n");
	else if (place->ca)
		fprintf(out, "  ca = [\"%s\"]\n", place->ca);
}

#define CONTAINERD_LOGIN                                                                                               \
	"below the host, [host.\"…\".header] with authorization = \"Basic …\" (NAME:PASSWORD in base64)"

const struct doctor_client doctor_clients[] = {
	{"docker", "/etc/docker/daemon.json", "systemctl reload docker", "/etc/docker/certs.d",
	 "docker shows mirrors none: what it is to pull must be in access.anonymous", true, print_daemon_json},
	{"containerd", "/etc/containerd/certs.d/_default/hosts.toml", NULL, NULL, CONTAINERD_LOGIN, false, print_host},
	{"containerd", "/etc/containerd/certs.d/docker.io/hosts.toml", NULL, NULL, CONTAINERD_LOGIN, false,
	 print_hosts_hub},
	{"podman", "/etc/containers/registries.conf.d/larder.conf", NULL, "/etc/containers/certs.d",
	 "podman login, to this address", false, print_registries_conf},
	{"buildkit", "/etc/buildkit/buildkitd.toml", "systemctl restart buildkit", NULL,
	 "docker login, as whoever runs the build", false, print_buildkitd_toml},
	{NULL},
};
