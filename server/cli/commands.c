/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/command.h"

/* Which larder a command asks. */
static const struct command_option asking_options[] = {
	{"admin", 0, "URL",
	 "ask this larder: http://HOST:PORT or unix:/PATH; else $LARDER_ADMIN, else http://127.0.0.1:5001"},
	{"token-file", 0, "FILE", "the admin API's token is in this file's first line"},
	{"json", 0, NULL, "print one JSON document; where a job is followed, one object a line"},
	{NULL},
};
#define ASKING                                                                                                         \
	{                                                                                                              \
		"The larder to ask", asking_options                                                                    \
	}

/* Those that need no network. */
static const struct command_option store_options[] = {
	{"store", 0, "DIR", "work on this store instead, which no larder holds open"},
	{NULL},
};
#define STORE                                                                                                          \
	{                                                                                                              \
		"Without a larder", store_options                                                                      \
	}

static const struct command_option prefetch_options[] = {
	{"images", 'J', "IMAGES", "how many images are fetched at once (3)"},
	{"layers", 'j', "LAYERS", "how many layers of each are (4)"},
	{"platform", 0, "OS/ARCH[/VARIANT]",
	 "fetch this platform of the images that have several (repeatable); else all"},
	{"pin", 0, "NAME", "add what is fetched to this pin, which eviction leaves alone"},
	{"no-referrers", 0, NULL, "leave out signatures, SBOMs and other artifacts that refer to the images"},
	{"dry-run", 'n', NULL, "say what would be fetched, and how much that is"},
	{"file", 'f', "LIST", "fetch also what this file names, one reference a line; -: standard input (repeatable)"},
	{"detach", 'd', NULL, "do not wait: print the job's number"},
	{NULL},
};

static const struct command_option ls_options[] = {
	{"lock", 0, NULL, "print references with their digests, as check --lockfile takes them"},
	{"pulled-since", 0, "DATE", "only what was used since: a day, 2026-11-21 (UTC), or how long ago, 36h"},
	{"quiet", 'q', NULL, "print references alone"},
	{NULL},
};

static const struct command_option check_options[] = {
	{"platform", 0, "OS/ARCH[/VARIANT]", "only this platform needs to be held (repeatable); else all"},
	{"lockfile", 0, "FILE", "check also what this file names, one reference a line; -: standard input"},
	{NULL},
};

static const struct command_option rm_options[] = {
	{"force", 0, NULL, "also what is pinned"},
	{NULL},
};

static const struct command_option gc_options[] = {
	{"dry-run", 'n', NULL, "say what would be freed"},
	{"detach", 'd', NULL, "do not wait: print the job's number"},
	{NULL},
};

static const struct command_option verify_options[] = {
	{"heal", 0, NULL, "fetch damaged blobs anew"},
	{"detach", 'd', NULL, "do not wait: print the job's number"},
	{NULL},
};

static const struct command_action jobs_actions[] = {
	{"list", "lists the jobs, the newest first (when nothing is said)"},
	{"watch", "follows a job to its end"},
	{"cancel", "ends a job; what it has done stays"},
	{NULL},
};

static const struct command_option serve_options[] = {
	{"config", 'c', "FILE",
	 "read this configuration; else $LARDER_CONFIG, else /etc/larder/larder.yaml, else what is built in"},
	{"listen", 0, "ADDR:PORT", "serve clients here instead (repeatable)"},
	{"admin", 0, "ADDRESS", "serve the admin API here instead: ADDR:PORT, unix:/PATH or off"},
	{"store", 0, "DIR", "keep the store here instead"},
	{"max-size", 0, "SIZE", "how much the store may hold (200GiB); 0: no limit"},
	{"upstream", 0, "[NAME=]URL",
	 "add or override an upstream (repeatable); the first becomes the default upstream"},
	{"offline", 0, NULL, "serve what is held and never ask an upstream"},
	{"checkpoint", 0, "1MiB…8MiB", "how far from one another reading inside layers can begin (2MiB)"},
	{"log-level", 0, "error|warn|info|debug", "the least important lines that are logged"},
	{"log-format", 0, "text|json", "log lines as words or as JSON objects"},
	{NULL},
};

static const struct command_action config_actions[] = {
	{"check", "validates the configuration; exit status 3 and the errors, with line and column, when something is "
		  "wrong"},
	{"show", "prints the effective configuration as YAML, secrets redacted"},
	{"keys", "lists every key with its default and meaning"},
	{NULL},
};

static const struct command_option config_options[] = {
	{"config", 'c', "FILE",
	 "read this configuration; else $LARDER_CONFIG, else /etc/larder/larder.yaml, else what is built in"},
	{"json", 0, NULL, "(check, show) print one JSON document instead"},
	{"markdown", 0, NULL, "(keys) print a Markdown table instead"},
	{NULL},
};

static const struct command_option doctor_options[] = {
	{"config", 'c', "FILE", "read larder's configuration here; else as serve does"},
	{"at", 0, "HOST:PORT", "where clients reach larder; else where it listens"},
	{"tls", 0, NULL, "it is reached by HTTPS, also when the configuration knows of no certificate"},
	{"ca", 0, "FILE", "the authorities (PEM) by which clients know its certificate"},
	{"user", 0, "NAME:PASSWORD", "log in to it like this, where it asks for that"},
	{"test", 0, NULL, "pull through it, in each way that clients have of asking"},
	{"image", 0, "REF", "pull this image; else docker.io/library/hello-world:latest"},
	{"json", 0, NULL, "print one JSON document"},
	{NULL},
};

static const struct command_action completion_actions[] = {
	{"bash", "for /usr/share/bash-completion/completions/larder"},
	{"zsh", "for a file _larder in a folder of $fpath"},
	{"fish", "for ~/.config/fish/completions/larder.fish"},
	{NULL},
};

static const struct command_option export_options[] = {
	{"output", 'o', "PATH",
	 "write here: a .tar file, - for standard output, or else a directory, which must be new or empty"},
	{"platform", 0, "OS/ARCH[/VARIANT]", "of images for several platforms, carry this one (repeatable); else all"},
	{"have", 0, "FILE", "leave out what this receipt of the far side says it holds; -: standard input"},
	{"held-only", 0, NULL, "fail instead of fetching what is not held"},
	{"no-referrers", 0, NULL, "leave signatures and whatever else refers to the images behind"},
	{"sign", 0, "FILE", "sign with this Ed25519 key (PEM), as openssl genpkey -algorithm ed25519 makes it"},
	{"format", 0, "oci|docker-archive", "an OCI image layout, or what docker load takes, of one platform an image"},
	{NULL},
};

static const struct command_option import_options[] = {
	{"as", 0, "REPOSITORY[:TAG]",
	 "the repository, and maybe tag, of images: of those that do not say it, and in place of what they say"},
	{"verify-key", 0, "FILE", "refuse what this Ed25519 key (PEM) has not signed"},
	{NULL},
};

static const struct command_option receipt_options[] = {
	{"output", 'o', "FILE", "write here; - for standard output"},
	{NULL},
};

static const struct command_option files_options[] = {
	{"platform", 0, "OS/ARCH[/VARIANT]",
	 "of an image for several platforms; else this machine's, or one that is held"},
	{"long", 'l', NULL, "print mode, owner, size and time too"},
	{"recursive", 'r', NULL, "print all that is below, too"},
	{NULL},
};

static const struct command_option find_options[] = {
	{"platform", 0, "OS/ARCH[/VARIANT]",
	 "of an image for several platforms; else this machine's, or one that is held"},
	{"long", 'l', NULL, "print mode, owner, size and time too"},
	{NULL},
};

static const struct command_option platform_options[] = {
	{"platform", 0, "OS/ARCH[/VARIANT]",
	 "of an image for several platforms; else this machine's, or one that is held"},
	{NULL},
};

const struct command command_table[] = {
	{
		.name = "serve",
		.arguments = "",
		.summary = "runs the proxy",
		.description = "Runs the proxy until it is told to stop (SIGTERM, SIGINT).",
		.sections = {{"Options", serve_options}},
		.run = cmd_serve,
	},
	{
		.name = "prefetch",
		.arguments = "REF…",
		.arguments_max = COMMAND_ANY_NUMBER,
		.wants = "name what to fetch, such as docker.io/library/alpine:3.20, or a list with --file",
		.summary = "fetches images ahead of use",
		.description = "Fetches images ahead of use, with all their platforms and what refers to them, "
			       "and follows how it goes: on a terminal images, layers, bytes, rate and time "
			       "left, elsewhere a line now and then, and one line at the end.\n\n"
			       "REF is alpine, docker.io/library/alpine:3.20 or …@sha256:…; ghcr.io/org/app:1.* "
			       "with a glob for the tag, narrowed by ?semver=>=1.2 <2, &latest=3 and "
			       "&exclude=*-rc*; or quay://ORG/GLOB:TAG?since=2026-01-31, which takes an "
			       "organisation's repositories that changed since.\n\n"
			       "Ctrl-C cancels the job; what it fetched stays, and the next run goes on from "
			       "there. A job that is detached, or whose command was ended in another way, goes "
			       "on without it: see larder jobs.",
		.sections = {{"Options", prefetch_options}, ASKING},
		.run = cmd_prefetch,
		.patterns = true,
	},
	{
		.name = "ls",
		.arguments = "[GLOB]",
		.arguments_max = 1,
		.summary = "lists what is cached",
		.description = "Lists cached images: what their tags mean, the platforms held, their size and "
			       "what of it is theirs alone, how long ago they were fetched and used, and what "
			       "pins them. GLOB is matched with UPSTREAM/REPOSITORY, also with :TAG behind it, "
			       "or with the end of these: alpine*, quay.io/org/*, *:1.2.\n\n"
			       "Columns are left out where a terminal has no room for them; elsewhere all are "
			       "there, unless COLUMNS says how much room there is.",
		.sections = {{"Options", ls_options}, ASKING, STORE},
		.run = cmd_ls,
	},
	{
		.name = "check",
		.arguments = "REF…",
		.arguments_max = COMMAND_ANY_NUMBER,
		.wants = "name an image, such as docker.io/library/alpine:3.20, or a list with --lockfile",
		.summary = "says whether images can be served offline, wholly",
		.description = "Says whether each image is held wholly, so that it is served also when its "
			       "registry cannot be reached, and names what is missing. Exit status 1 when "
			       "anything is.",
		.sections = {{"Options", check_options}, ASKING, STORE},
		.run = cmd_check,
	},
	{
		.name = "status",
		.arguments = "",
		.summary = "says how a running larder does",
		.description = "Says how a running larder does: pulls, hit ratio, store, flights, and each "
			       "upstream's health, rate budget and pace.",
		.sections = {ASKING},
		.run = cmd_status,
	},
	{
		.name = "explain",
		.arguments = "REF",
		.arguments_min = 1,
		.arguments_max = 1,
		.wants = "name one reference, such as docker.io/library/alpine:3.20",
		.summary = "says what a pull of REF would do right now, and why",
		.description = "Says what a pull of REF would do right now, and why: the decision, the upstream "
			       "and its budget, what the tag means and how old that is, and what is held of it. "
			       "No upstream is asked.",
		.sections = {ASKING, STORE},
		.run = cmd_explain,
	},
	{
		.name = "export",
		.arguments = "REF…",
		.arguments_min = 1,
		.arguments_max = COMMAND_ANY_NUMBER,
		.wants = "name the images to export",
		.summary = "writes images as one archive or directory, to be carried to another larder",
		.description = "Writes an OCI image layout with everything of the images: indexes, the chosen "
			       "platforms, and what refers to them. What is not held is fetched first. skopeo, "
			       "podman, containerd and docker read it, and larder import does.",
		.sections = {{"Options", export_options}, ASKING, STORE},
		.run = cmd_export,
	},
	{
		.name = "import",
		.arguments = "[PATH]",
		.arguments_max = 1,
		.wants = "name one archive or directory, or - for standard input",
		.summary = "takes images from an archive or directory",
		.description = "Takes, from PATH or what is piped in, what larder export wrote, the OCI image "
			       "layouts of other tools, and what docker save writes, packed with gzip or not. Every "
			       "byte is verified; an import "
			       "that was cut goes on when it is repeated. Exit status 1 when something is "
			       "missing then, which is said.",
		.sections = {{"Options", import_options}, ASKING, STORE},
		.run = cmd_import,
		.bounded = true,
		.makes_store = true,
	},
	{
		.name = "receipt",
		.arguments = "",
		.summary = "writes down what is held, for export --have elsewhere",
		.description = "Writes a receipt: the digests of everything that is held, 32 bytes each. On "
			       "another box, export --have takes it and leaves these out.",
		.sections = {{"Options", receipt_options}, ASKING, STORE},
		.run = cmd_receipt,
	},
	{
		.name = "rm",
		.arguments = "REF|REPO|DIGEST…",
		.arguments_min = 1,
		.arguments_max = COMMAND_ANY_NUMBER,
		.wants = "name a tag, a repository or a digest",
		.summary = "forgets a tag, a repository or a blob",
		.description = "Forgets a tag with its image, a repository with all its images, or a blob "
			       "wherever it is; the next pull fetches anew. What another image needs stays, and "
			       "what is pinned is refused.",
		.sections = {{"Options", rm_options}, ASKING, STORE},
		.run = cmd_rm,
	},
	{
		.name = "pin",
		.arguments = "NAME REF…",
		.arguments_min = 2,
		.arguments_max = COMMAND_ANY_NUMBER,
		.wants = "name the pin, then the images",
		.summary = "adds images to a named set that eviction leaves alone",
		.description = "Adds images to a pin, a named set of references that eviction leaves alone. A "
			       "pinned tag keeps what it means at any time; it need not be held yet.",
		.sections = {ASKING, STORE},
		.run = cmd_pin,
	},
	{
		.name = "unpin",
		.arguments = "NAME [REF…]",
		.arguments_min = 1,
		.arguments_max = COMMAND_ANY_NUMBER,
		.wants = "name the pin",
		.summary = "takes images out of a pin, or all of it away",
		.description = "Takes images out of a pin; without any, takes the pin away. What it kept stays "
			       "until eviction needs the room.",
		.sections = {ASKING, STORE},
		.run = cmd_unpin,
	},
	{
		.name = "pins",
		.arguments = "",
		.summary = "lists the pins and what is in them",
		.description = "Lists the pins, and the references in each.",
		.sections = {ASKING, STORE},
		.run = cmd_pins,
	},
	{
		.name = "gc",
		.arguments = "",
		.summary = "brings the store under its limits now",
		.description = "Brings the store under its limits now: partial downloads that nobody goes on "
			       "with, then images, the least recently used first, and never a pinned one. Says "
			       "what was freed.",
		.sections = {{"Options", gc_options}, ASKING, STORE},
		.run = cmd_gc,
		.bounded = true,
	},
	{
		.name = "verify",
		.arguments = "",
		.summary = "reads the store again and checks every digest",
		.description = "Reads everything that is stored and checks its digest. What is damaged is put "
			       "aside (STORE/quarantine), so that the next pull fetches it anew, or with --heal "
			       "it is fetched at once, and so is what was put aside before.",
		.sections = {{"Options", verify_options}, ASKING, STORE},
		.run = cmd_verify,
	},
	{
		.name = "jobs",
		.arguments = "[list|watch ID|cancel ID]",
		.arguments_max = 2,
		.summary = "lists, follows or cancels prefetching and other long work",
		.description = "Lists the larder's jobs: prefetching, making room, verifying.",
		.actions = jobs_actions,
		.sections = {ASKING},
		.run = cmd_jobs,
	},
	{
		.name = "files",
		.arguments = "REF [PATH]",
		.arguments_min = 1,
		.arguments_max = 2,
		.wants = "name an image, such as docker.io/library/alpine:3.20",
		.summary = "lists files inside an image, without unpacking it",
		.description = "Lists a directory of the image's merged layers, its root when no PATH is given. Layers "
			       "are indexed the first time.",
		.sections = {{"Options", files_options}, ASKING, STORE},
		.run = cmd_files,
	},
	{
		.name = "cat",
		.arguments = "REF PATH",
		.arguments_min = 2,
		.arguments_max = 2,
		.wants = "name an image and the path of a file in it",
		.summary = "prints a file inside an image, without unpacking it",
		.description = "Prints the bytes of a file of the image. No more of a layer is read than is needed, "
			       "also where the layer is not held and has to be fetched.",
		.sections = {{"Options", platform_options}, ASKING, STORE},
		.run = cmd_cat,
	},
	{
		.name = "find",
		.arguments = "REF GLOB",
		.arguments_min = 2,
		.arguments_max = 2,
		.wants = "name an image and a glob, such as '*.so.6'",
		.summary = "finds files inside an image by their name or path",
		.description = "Prints the files of the image whose name matches the glob, or whose whole path does "
			       "where the glob has a slash.",
		.sections = {{"Options", find_options}, ASKING, STORE},
		.run = cmd_find,
	},
	{
		.name = "diff",
		.arguments = "REF REF",
		.arguments_min = 2,
		.arguments_max = 2,
		.wants = "name two images",
		.summary = "says what differs between the files of two images",
		.description = "Prints a line for each file that the second image has (A), has not (D) or has "
			       "otherwise (M), and what differs: type, mode, owner, target, device, xattrs or content. "
			       "Files of the same size and time are taken for the same.",
		.sections = {{"Options", platform_options}, ASKING, STORE},
		.run = cmd_diff,
	},
	{
		.name = "config",
		.arguments = "check|show|keys [FILE]",
		.arguments_min = 1,
		.arguments_max = 2,
		.wants = "say what to do: check, show or keys",
		.summary = "validates or prints the configuration",
		.description = "Validates or prints the configuration that serve would run with, or would with FILE.",
		.actions = config_actions,
		.sections = {{"Options", config_options}},
		.run = cmd_config,
	},
	{
		.name = "doctor",
		.arguments = "[docker|containerd|podman|buildkit]…",
		.arguments_max = COMMAND_ANY_NUMBER,
		.summary = "prints client configuration for this larder, and tests it",
		.description =
			"Prints what tells docker, containerd, podman (buildah, skopeo, CRI-O) and BuildKit of this "
			"larder, each with the file that it belongs into. With --test an image is pulled through "
			"larder in each way that these clients have of asking, every digest checked; exit status 1 "
			"when one of them fails.",
		.sections = {{"Options", doctor_options}},
		.run = cmd_doctor,
	},
	{
		.name = "completion",
		.arguments = "bash|zsh|fish",
		.arguments_min = 1,
		.arguments_max = 1,
		.wants = "name a shell: bash, zsh or fish",
		.summary = "prints what a shell needs to complete larder's command line",
		.description = "Prints a script for the shell's completion. Packages install it; else write it "
			       "where the shell looks, or read it in at once: source <(larder completion bash)",
		.actions = completion_actions,
		.run = cmd_completion,
	},
	{
		.name = "manual",
		.arguments = "DIR",
		.arguments_min = 1,
		.arguments_max = 1,
		.wants = "name the folder to write the manual pages into",
		.summary = "writes the manual pages",
		.description = "Writes the manual pages into DIR/man1 and DIR/man5.",
		.run = cmd_manual,
		.hidden = true,
	},
	{NULL},
};
