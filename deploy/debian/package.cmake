# SPDX-License-Identifier: Apache-2.0
# The Debian package: `deploy/make-deb`, or `cpack` in a build tree.
install(FILES ${CMAKE_SOURCE_DIR}/deploy/larder.service ${CMAKE_SOURCE_DIR}/deploy/larder.socket
        DESTINATION lib/systemd/system COMPONENT larder)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/debian/sysusers.conf DESTINATION lib/sysusers.d RENAME larder.conf
        COMPONENT larder)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT larder)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/deploy/clients DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT larder)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  # A file under /etc is the machine's, not a prefix's. Everyone may read it: secrets stand in files of their own.
  install(FILES ${CMAKE_SOURCE_DIR}/deploy/larder.yaml DESTINATION /etc/larder COMPONENT larder)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "The larder developers <larder@localhost>") # there is no address yet
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pull-through caching proxy for container registries")
set(CPACK_PACKAGE_DESCRIPTION
    "docker, containerd, podman, BuildKit and helm pull through it. It fetches each
manifest and layer once from the real registry, checks it against its digest,
keeps it on disk, and serves it again from there, also while the registry is
slow, rate-limited or gone.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${CMAKE_SOURCE_DIR}/deploy/debian/conffiles ${CMAKE_SOURCE_DIR}/deploy/debian/postinst
    ${CMAKE_SOURCE_DIR}/deploy/debian/prerm ${CMAKE_SOURCE_DIR}/deploy/debian/postrm)
# As Debian's packages have them.
set(LARDER_DOC_DIR ${CMAKE_INSTALL_DOCDIR})
configure_file(${CMAKE_SOURCE_DIR}/deploy/debian/compress.cmake.in ${CMAKE_BINARY_DIR}/compress.cmake @ONLY)
install(SCRIPT ${CMAKE_BINARY_DIR}/compress.cmake COMPONENT larder)

include(CPack)
