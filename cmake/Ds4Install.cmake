# What `make install` puts below the prefix. Nothing in it knows the prefix: the tree may be staged and moved.
install(TARGETS ds4_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/ds4 DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES models/ds4-mini.gguf DESTINATION ${CMAKE_INSTALL_DATADIR}/ds4)
install(FILES README.md CHANGELOG.md CONTRIBUTING.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

# pkg-config finds the prefix from the place of ds4.pc itself.
file(RELATIVE_PATH DS4_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" DS4_PC_PREFIX ${DS4_PC_PREFIX})
configure_file(cmake/ds4.pc.in ${CMAKE_BINARY_DIR}/ds4.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/ds4.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
