"""conan create packaging/conan: heed from the tree that this file is in."""
import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir


class HeedConan(ConanFile):
    name = "heed"
    license = "Apache-2.0"
    description = "Attention for CPUs: the same bits everywhere"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    # What docs/building.md says of CMake's variables.
    options = {"shared": [True, False], "fPIC": [True, False], "openmp": [True, False], "layer": [True, False],
               "targets": ["ANY"]}
    default_options = {"shared": False, "fPIC": True, "openmp": True, "layer": True, "targets": "differing"}
    implements = ["auto_shared_fpic"]

    def _tree(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        self.version = re.search(r"version: '([0-9.]+)'", load(self, os.path.join(self._tree(), "meson.build")))[1]

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "meson.build", "meson/*", "include/*", "src/*",
                        "subprojects/highway.wrap"):
            copy(self, pattern, src=self._tree(), dst=self.export_sources_folder)

    def config_options(self):
        if self.settings.os not in ("Linux", "FreeBSD", "Windows"):
            self.options.openmp = False  # programs seldom have its runtime there

    def validate(self):
        if self.settings.compiler == "msvc":
            raise ConanInvalidConfiguration("heed needs GCC or clang")

    def requirements(self):
        self.requires("highway/[>=1.2.0 <2]", libs=False, visible=False)  # its headers alone

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        highway = self.dependencies["highway"].cpp_info.aggregated_components().includedirs[0]
        toolchain.cache_variables["HEED_HIGHWAY"] = highway.replace("\\", "/")
        toolchain.cache_variables["HEED_SHARED"] = bool(self.options.shared)
        toolchain.cache_variables["HEED_OPENMP"] = "ON" if self.options.openmp else "OFF"
        toolchain.cache_variables["HEED_LAYER"] = bool(self.options.layer)
        toolchain.cache_variables["HEED_TARGETS"] = str(self.options.targets).replace(",", ";")
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        for folder in ("cmake", "pkgconfig"):  # Conan writes these
            rmdir(self, os.path.join(self.package_folder, "lib", folder))
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        self.cpp_info.libs = ["heed"]
        self.cpp_info.set_property("cmake_target_name", "heed::heed")
        if self.options.shared:
            self.cpp_info.defines = ["HEED_SHARED"]
        elif self.options.openmp:
            self.cpp_info.system_libs = ["gomp" if self.settings.compiler == "gcc" else "omp"]
