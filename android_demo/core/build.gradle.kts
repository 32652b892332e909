import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
}

// Not a toolchain of that version: Android Studio brings a later JDK, and nothing else needs to be installed.
java {
    sourceCompatibility = JavaVersion.VERSION_17
    targetCompatibility = JavaVersion.VERSION_17
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_17
    }
}

// The core has no dependency but the standard library, and its test is a program: it compares the core with the
// golden vectors of the Python engine.
val golden by tasks.registering(JavaExec::class) {
    description = "Compares the core with the golden vectors of the Python engine."
    group = "verification"
    mainClass = "toolchain.face.GoldenMainKt"
    classpath = sourceSets["test"].runtimeClasspath
    args(layout.projectDirectory.dir("src/test/resources/golden"))
}

tasks.check {
    dependsOn(golden)
}
