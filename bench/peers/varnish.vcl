# SPDX-License-Identifier: Apache-2.0
# Varnish as a cache. It knows nothing of registries.
vcl 4.1;

backend origin {
  .host = "127.0.0.1";
  .port = "5900";
}

sub vcl_backend_response {
  if (beresp.status == 200) {
    set beresp.ttl = 1h;
  }
}
