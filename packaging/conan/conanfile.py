"""conan create packaging/conan: heed from the tree that this file is in."""
import os

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class HeedConan(ConanFile):
    name = "heed"
    version = "0.1.0"
    license = "Apache-2.0"
    description = "Attention for CPUs: the same bits everywhere"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False], "openmp": [True, False], "targets": ["ANY"]}
    default_options = {"shared": False, "fPIC": True, "openmp": True, "targets": "differing"}

    def export_sources(self):
        tree = os.path.join(self.recipe_folder, "..", "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "meson.build", "meson/*", "include/*", "src/*",
                        "subprojects/highway.wrap"):
            copy(self, pattern, src=tree, dst=self.export_sources_folder)

    def requirements(self):
        self.requires("highway/[>=1.2.0 <2]", visible=False)  # its headers alone

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        highway = self.dependencies["highway"].cpp_info.includedirs[0]
        toolchain.cache_variables["HEED_HIGHWAY"] = highway.replace("\\", "/")
        toolchain.cache_variables["HEED_SHARED"] = bool(self.options.shared)
        toolchain.cache_variables["HEED_OPENMP"] = "ON" if self.options.openmp else "OFF"
        toolchain.cache_variables["HEED_TARGETS"] = str(self.options.targets)
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", src=self.source_folder, dst=os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        self.cpp_info.libs = ["heed"]
        self.cpp_info.set_property("cmake_target_name", "heed::heed")
        if self.options.openmp and not self.options.shared:
            self.cpp_info.system_libs = ["gomp" if self.settings.compiler == "gcc" else "omp"]
