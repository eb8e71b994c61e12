# SPDX-License-Identifier: Apache-2.0
unit_test(server config cli)
unit_test(server config_print cli PkgConfig::JANSSON)
target_compile_definitions(unit_server_config_print PRIVATE LARDER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
unit_test(server range registry)
unit_test(server multipart registry)
unit_test(server target http)
unit_test(server accept pull)
unit_test(server route registry)
