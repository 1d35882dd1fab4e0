//! Tells the ROS room which generation of rcl it is compiled against. Does nothing without the feature `ros`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // REP 2011 type hashes came with Iron: before it neither discovery nor type support carries one.
    println!("cargo:rustc-check-cfg=cfg(ros_type_hashes)");
    if std::env::var_os("CARGO_FEATURE_ROS").is_none() {
        return;
    }
    println!("cargo:rerun-if-env-changed=ROS_DISTRO");
    let distro = std::env::var("ROS_DISTRO").unwrap_or_default();
    if !matches!(distro.as_str(), "foxy" | "galactic" | "humble") {
        println!("cargo:rustc-cfg=ros_type_hashes");
    }
}
